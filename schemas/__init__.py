"""What the vendors accept and answer: declarations only. Importing this package loads no pandera."""
