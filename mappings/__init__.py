"""Where values come from: one TOML file per kind of source file, shipped with the tool."""
