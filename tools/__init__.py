"""What is done with the project from outside it: demo, tests, generated files, client, stand-in, load."""
