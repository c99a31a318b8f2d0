"""Components as Verilog that people read: names, order, comments, and text that means the same in every tool."""
