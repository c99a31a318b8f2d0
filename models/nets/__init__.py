"""Networks, one per file, their kernel a parameter; and the zoo that names them."""
