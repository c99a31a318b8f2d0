"""What every part needs and no part owns: user errors, whole files, a cache, templates, progress."""
