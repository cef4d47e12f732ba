"""How every binary starts and ends: what it prints, its flags, its exit codes."""
