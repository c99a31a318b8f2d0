"""The vector unit of an engine: what a layer norm needs beside the array, roots and reciprocals digit by digit."""
