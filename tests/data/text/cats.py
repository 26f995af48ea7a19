"""What the tests train vocabularies on."""

TEXTS = [
    "The cat sat on the mat; the cat sat.",
    "A cat, a hat and a bat sat: naïve café?",
    "the mat, the mats, matting",
]
