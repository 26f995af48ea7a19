"""Pure building blocks: errors, durations, rules over parameter paths, random keys, trees. Imports nothing of jaxai."""
