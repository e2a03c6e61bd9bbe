"""Files that are whole: written whole or not at all, sealed with a checksum."""
