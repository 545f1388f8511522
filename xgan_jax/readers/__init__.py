"""Small networks that read pictures, learnt on the data at hand or loaded: for measuring, and for losses."""
