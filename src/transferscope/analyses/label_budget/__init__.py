"""What more labels would bring, how many are needed, and how many labels pre-training is worth."""
