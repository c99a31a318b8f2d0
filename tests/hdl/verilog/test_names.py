# amaranth: UnusedElaboratable=no
"""Names in the emitted Verilog: simple identifiers, each for one thing, the same in every run."""

import re

import pytest
from addax.hdl.verilog.emit import to_verilog
from addax.hdl.verilog.keywords import KEYWORDS, is_identifier
from addax.hdl.verilog.modules import parsed
from addax.hdl.verilog.names import Renamed, module_name, plain
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


@pytest.mark.parametrize("name, expected", [
    ("window", "window"), ("$12", "_12"), ("pad$43", "pad_43"), ("i__payload[0]", "i__payload__0"),
    ("o__payload$48.last", "o__payload_48__last"), ("a[1].b[2]", "a__1__b__2"), ("begin", "begin_"), ("1st", "_1st"),
    ("é", "_"), ("", "_"),
])  # fmt: skip
def test_a_name_becomes_an_identifier(name, expected):
    assert plain(name) == expected


def test_no_reserved_word_stays_one():
    assert all(re.fullmatch(r"\w+", plain(word)) and plain(word) not in KEYWORDS for word in KEYWORDS)


def test_modules_are_called_after_their_instances():
    assert module_name("net") == "net"
    assert module_name("net", "pipeline", "stage_conv1") == "net__pipeline__stage_conv1"


class Leaf(wiring.Component):
    """Adds a number. Not a word of this sentence reaches the text."""

    def __init__(self, number):
        self.number = number
        super().__init__({"x": In(4), "begin": Out(4)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.begin.eq(self.x + self.number)
        return m


class Branch(wiring.Component):
    """Holds ``leaves``"""

    def __init__(self, leaves):
        self.leaves = leaves
        super().__init__({"x": In(4), "y": Out(4)})

    def elaborate(self, platform):
        m = Module()
        value = self.x
        for name, number in self.leaves.items():
            m.submodules[name] = leaf = Leaf(number)
            m.d.comb += leaf.x.eq(value)
            value = leaf.begin
        m.d.comb += self.y.eq(value)
        return m


class Clashing(wiring.Component):
    """Two paths of the same name: ``a``, ``b__c`` and ``a__b``, ``c``; and nets that are called like ports."""

    def __init__(self):
        super().__init__({"x": In(4), "y": Out(4), "z": Out(4), "join": Out(4)})

    def elaborate(self, platform):
        m = Module()
        m.submodules["a__b"] = one = Branch({"c": 1})
        m.submodules["a"] = other = Branch({"b__c": 2, "join": 3})
        y, underscored = Signal(4, name="y"), Signal(4, name="y_2")
        m.d.comb += [one.x.eq(self.x), other.x.eq(self.x), y.eq(one.y ^ other.y), underscored.eq(~y)]
        m.d.comb += [self.y.eq(y + underscored), self.z.eq(y), self.join.eq(one.y)]
        return m


@pytest.fixture(scope="module")
def text():
    return to_verilog(Clashing(), "top")


def modules_of(text):
    """Text of every module by its name."""
    return {found[1]: found[0] for found in re.finditer(r"^module (\w+).*?^endmodule", text, re.MULTILINE | re.DOTALL)}


def test_paths_of_the_same_name_are_two_modules(text):
    """The first in the order of the text has the plain name; each instance is of its own."""
    found = modules_of(text)

    assert [*found] == ["top", "top__a__b", "top__a__b__c", "top__a", "top__a__b__c_2", "top__a__join"]
    assert "  top__a__b__c c (" in found["top__a__b"] and "  top__a__b__c_2 b__c (" in found["top__a"]
    assert "+ 1'h1" in found["top__a__b__c"] and "+ 2'h2" in found["top__a__b__c_2"]


def test_nothing_is_escaped_and_no_word_is_reserved(text):
    assert "\\" not in text
    assert "begin_" in text and "join_" in text
    for port in re.findall(r"\.(\w+)\(", text):
        assert is_identifier(port)


def test_modules_say_what_they_are_and_ports_stand_as_declared(text):
    """Clock and reset first where nobody declares them."""
    assert re.findall(r"^// (.*)\nmodule (\w+)", text, re.MULTILINE)[1:4] == [
        ("Holds leaves", "top__a__b"), ("Adds a number", "top__a__b__c"), ("Holds leaves", "top__a"),
    ]  # fmt: skip
    head = modules_of(text)["top__a__b__c"].partition(");")[0]
    assert re.findall(r"^  (\w+),? +// (.*)$", head, re.MULTILINE) == [
        ("clk", "input"), ("rst", "input"), ("x", "input  [3:0]"), ("begin_", "output [3:0]"),
    ]  # fmt: skip


def test_it_is_the_same_text_every_time(text):
    assert to_verilog(Clashing(), "top") == text


YOSYS = r"""module \net.deep (x, \o$5 , \join );
  input x;
  wire x;
  wire o;
  wire [1:0] \o[0] ;
  output \o$5 ;
  wire \o$5 ;
  output \join ;
  reg \join  = 1'h0;
  \net.rom  #(
    .FILE("o \o$5 .mem"),
    .x(32'd1)
  ) \begin  (
    .data(o),
    .o(\o$5 )
  );
  assign \o$5  = o ^ 1'ho;
  assign \$signed  = $signed(x) ? \join  : 8'hx;
endmodule
"""


def test_every_name_of_a_module_is_read_as_yosys_wrote_it():
    """A port keeps its name, and what was called like it, with its fields, gives way; strings, numbers and the pins of
    modules that are none of ours stay."""
    (module,) = parsed(YOSYS)

    new = Renamed.of([module], "net").module(module)

    assert new.name == "net__deep" and [port.name for port in new.ports] == ["x", "o", "join_"]
    assert (
        "\n".join(new.body)
        == r"""  input x;
  wire o_5;
  wire [1:0] o_5__0;
  output o;
  output join_;
  reg join_ = 1'h0;
  net__rom #(
    .FILE("o \o$5 .mem"),
    .x(32'd1)
  ) begin_ (
    .data(o_5),
    .o(o)
  );
  assign o = o_5 ^ 1'ho;
  assign _signed = $signed(x) ? join_ : 8'hx;"""
    )
