"""Parts of networks that no package has, for families to build on."""
