"""How attention changes under attack, [AAD Sec. 2]: tables from the records of `eval.attention`."""
