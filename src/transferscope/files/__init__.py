"""Networks and images given as files, without a study."""
