"""What `import bench` offers to scripts and notebooks: docs/python.md. Nothing here prints or ends the program."""
