"""A first look at labelled images and pre-trained networks, before anything is trained."""
