"""A net on a stream: ratio, chunks, precision; nets loaded by file."""
