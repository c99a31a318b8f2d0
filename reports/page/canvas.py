"""Charts as SVG that stands in a page: drawn by matplotlib, coloured by the page's own style sheet.

matplotlib is imported when the first chart is drawn, which costs more than drawing: half a second on a slow machine.
"""

import io
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FONT", "INKS", "Canvas"]

FONT = 11.0
"""Size of the text in px, at the chart's own width."""
INKS = {
    name: f"#0000{number:02x}"
    for number, name in enumerate(("ink", "soft", "line", "page", "one", "two", "three", "four"), 1)
}
"""Colours by their names in the style sheet. matplotlib wants values, so each name has one that stands for it."""
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_SETTINGS = {
    "svg.fonttype": "none",  # text stays text: selectable, in the page's font
    "svg.hashsalt": "addax",  # the same chart is the same file
    "font.size": FONT,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.edgecolor": INKS["line"],
    "axes.labelcolor": INKS["soft"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": INKS["line"],
    "ytick.color": INKS["line"],
    "xtick.labelcolor": INKS["soft"],
    "ytick.labelcolor": INKS["ink"],
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "text.color": INKS["ink"],
}


class Canvas:
    """A chart of one pair of axes.

    Parameters
    ----------
    name : unique in its page
    title, description : what the chart is and what it shows, for those who do not see it
    width, height : px
    left, right, top, bottom : margins around the axes, px
    """

    def __init__(
        self, name: str, *, title: str, description: str, width: float, height: float, left: float, right: float = 12,
        top: float = 8, bottom: float = 40,
    ) -> None:  # fmt: skip
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self.name, self.title, self.description = name, title, description
        self.width, self.height = width, height
        self._settings: Any = {key: value for key, value in _SETTINGS.items() if key in mpl.rcParams}
        self._marks: dict[str, dict[str, str]] = {}
        with mpl.rc_context(self._settings):
            self._figure = Figure(figsize=(width / 72, height / 72), dpi=72)
            self._canvas = FigureCanvasSVG(self._figure)
            box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
            self.axes: Axes = self._figure.add_axes(box)

    def mark(self, artist: Any, *, title: str = "", path: str = "") -> None:
        """Give ``artist`` a tooltip, or say which value of the JSON file it shows."""
        gid = f"mark{len(self._marks)}"
        artist.set_gid(gid)
        self._marks[gid] = {"title": title, "path": path}

    def svg(self) -> str:
        """The chart, an ``<svg>`` element for HTML."""
        import matplotlib as mpl

        buffer = io.StringIO()
        with mpl.rc_context(self._settings):
            self._canvas.print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        return self._page_ready(buffer.getvalue())

    def _page_ready(self, text: str) -> str:
        """Without what would leak into the page: style sheets, fonts, ids of other charts."""
        root = ElementTree.fromstring(text)  # noqa: S314  matplotlib has just written it
        used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
        for parent in list(root.iter()):
            for child in list(parent):
                if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                    parent.remove(child)
        for element in root.iter():
            self._restyle(element, used)
        root.attrib = {
            "viewBox": f"0 0 {self.width:g} {self.height:g}", "role": "img",
            "aria-labelledby": f"{self.name}-title {self.name}-text",
        }  # fmt: skip
        for tag, ident, words in (("desc", "text", self.description), ("title", "title", self.title)):
            element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{self.name}-{ident}"})
            element.text = words
            root.insert(0, element)
        ElementTree.register_namespace("", _SVG)
        ElementTree.register_namespace("xlink", _XLINK)
        return re.sub(r"\n\s*", "\n", ElementTree.tostring(root, encoding="unicode"))

    def _restyle(self, element: ElementTree.Element, used: set[str]) -> None:
        own = element.attrib
        if mark := self._marks.get(own.get("id", "")):
            if mark["path"]:
                own["data-path"] = mark["path"]
            if mark["title"]:
                title = ElementTree.Element(f"{{{_SVG}}}title")
                title.text = mark["title"]
                element.insert(0, title)
        if "id" in own:
            ident = own.pop("id")
            if ident in used:
                own["id"] = f"{self.name}-{ident}"
        for key in ("clip-path", f"{{{_XLINK}}}href"):
            if key in own:
                own[key] = own[key].replace("#", f"#{self.name}-")
        if "style" in own:
            kept = [part.strip() for part in own["style"].split(";") if part.strip()]
            kept = [part for part in kept if not part.startswith(("font-family", "font:"))]
            style = "; ".join(kept)
            for name, value in INKS.items():
                style = style.replace(value, f"var(--{name})")
            own["style"] = style
