"""Reads and writes files on local disk and in remote storage."""
