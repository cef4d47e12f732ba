"""What every room of the library uses and that belongs to none of them."""
