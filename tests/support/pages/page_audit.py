"""What a browser sees of a page: texts that overlap, leave their place, or are too faint; values and where they are
from."""

import re

AUDIT = r"""
(() => {
  const visible = node => {
    const style = getComputedStyle(node);
    return style.visibility !== 'hidden' && style.display !== 'none' && node.getClientRects().length > 0;
  };
  const boxes = [];
  const add = (rects, node, text) => {
    for (const r of rects)
      if (r.width > 0.5 && r.height > 0.5)
        boxes.push({left: r.left + scrollX, top: r.top + scrollY, right: r.right + scrollX,
                    bottom: r.bottom + scrollY, node, text});
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode, node = text.parentElement;
    if (!text.data.trim() || node.closest('svg, style, script') || !visible(node)) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    add(range.getClientRects(), node, text.data.trim());
  }
  for (const node of document.querySelectorAll('svg text')) {
    if (visible(node)) add([node.getBoundingClientRect()], node, node.textContent);
  }
  const overlaps = [], outside = [], faint = [];
  boxes.sort((a, b) => a.top - b.top);
  for (let i = 0; i < boxes.length; i++)
    for (let j = i + 1; j < boxes.length && boxes[j].top < boxes[i].bottom - 1; j++) {
      const a = boxes[i], b = boxes[j];
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 1 && !(a.node === b.node && a.text === b.text)) overlaps.push([a.text, b.text]);
    }
  for (const box of boxes) {
    const chart = box.node.closest('svg');
    const frame = chart ? chart.getBoundingClientRect() : null;
    if (frame) {
      const left = frame.left + scrollX, top = frame.top + scrollY;
      if (box.left < left - 0.5 || box.right > left + frame.width + 0.5 || box.top < top - 0.5
          || box.bottom > top + frame.height + 0.5) outside.push(box.text);
    }
    let scrolls = false;
    for (let at = box.node; at && at !== document.body; at = at.parentElement) {
      const overflow = getComputedStyle(at).overflowX;
      if (overflow === 'auto' || overflow === 'scroll') { scrolls = true; break; }
      if (overflow === 'hidden' && !at.closest('svg')) {
        const own = at.getBoundingClientRect();
        if (box.right > own.right + scrollX + 1 || box.bottom > own.bottom + scrollY + 1) outside.push(box.text);
      }
    }
    if (!scrolls && (box.left < 0 || box.right > innerWidth + 0.5)) outside.push(box.text);
  }
  const numbers = colour => (colour.match(/[\d.]+/g) || []).map(Number);
  const light = colour => {
    const [r, g, b] = numbers(colour).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor, parts = numbers(colour);
      if (parts.length === 3 || (parts.length === 4 && parts[3] > 0)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  for (const node of new Set(boxes.map(box => box.node))) {
    const style = getComputedStyle(node);
    const found = ratio(node.closest('svg') ? style.fill : style.color, behind(node));
    if (!(found >= 4.5)) faint.push([node.textContent.trim().slice(0, 40), found]);
  }
  const probe = document.createElement('i');
  document.body.append(probe);
  const inks = {};
  for (const name of ['one', 'two', 'three', 'four', 'five', 'six', 'seven']) {
    probe.style.color = `var(--${name})`;
    inks[name] = ratio(getComputedStyle(probe).color, behind(document.body));
  }
  probe.remove();
  const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
  return {
    texts: boxes.length, overlaps, outside, faint, inks,
    page: getComputedStyle(document.body).backgroundColor,
    wide: document.documentElement.scrollWidth, window: innerWidth,
    twice: ids.filter((id, k) => ids.indexOf(id) !== k),
    values: [...document.querySelectorAll('[data-path]')].map(node => [node.dataset.path, node.textContent.trim()]),
    ratios: [...document.querySelectorAll('[data-ratio]')].map(node => [node.dataset.ratio, node.textContent]),
    figures: [...document.querySelectorAll('[data-figure]')].map(node => [node.dataset.figure, node.textContent]),
    charts: [...document.querySelectorAll('svg')].map(node => ({
      role: node.getAttribute('role'),
      label: (node.getAttribute('aria-labelledby') || '').split(' ')
        .map(id => (document.getElementById(id) || {textContent: ''}).textContent),
      texts: [...node.querySelectorAll('text')].map(text => text.textContent),
    })),
  };
})()
"""
"""A JavaScript expression; all boxes are those of texts, in px of the page."""


def at(document, path):
    """The value at a path such as ``stages.0.lut``."""
    for step in path.split("."):
        document = document[int(step) if isinstance(document, list) else step]
    return document


def shows(text, value):
    """Whether the number in ``text`` is ``value`` rounded to the digits that it has; per cent are of one."""
    found = re.fullmatch(r"(?:[a-z ]+: )?([+-]?[\d,]+)(\.\d+)?(\s%| Gbit/s)?", text.replace("\N{MINUS SIGN}", "-"))
    assert found, text
    whole, places, unit = found.groups(default="")
    scale = 100 if unit.endswith("%") else 1
    return abs(float(whole.replace(",", "") + places) - scale * value) <= 0.5001 * 10.0 ** -max(len(places) - 1, 0)
