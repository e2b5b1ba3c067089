"""The documents' experiments, run again: scores on what was not trained on, tables, figures and lists."""
