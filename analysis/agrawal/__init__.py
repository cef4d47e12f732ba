"""Tables, figures and claims of the CBAM study [Agrawal] from transfer and gate records."""
