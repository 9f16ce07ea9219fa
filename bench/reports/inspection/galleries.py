Card=Gallery=write_gallery=None
