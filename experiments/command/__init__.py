"""What the commands share: composing a config, quoting words, telling errors."""
