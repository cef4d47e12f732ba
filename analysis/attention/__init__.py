"""What attention does under attack, [AAD Sec. 2], from the records of `eval.attention`."""
