"""Operations on tokens: a token is a pixel, its width the channels; those along a row see each other."""
