"""The one path by which value moves, and the services that modules build on."""
