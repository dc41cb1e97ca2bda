"""What layouts of conversations share: tags in texts, recognising, typed rows, the user's own format and its checks."""
