"""Hot change: another configuration while everything runs, checked as a whole before anything is touched."""
