"""What feature maps pass through: sliding windows, moves of pixels, joins."""
