"""Studies of physics: atoms whose electrons make the potential that they move in."""
