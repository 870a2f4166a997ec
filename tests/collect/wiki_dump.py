"""A dump of a small wiki as MediaWiki exports it, with what real pages have in them."""

from __future__ import annotations

import bz2
from xml.sax.saxutils import escape

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename><dbname>dewiki</dbname><base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <namespaces>
      <namespace key="0" case="first-letter" /><namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="10" case="first-letter">Vorlage</namespace><namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""
ARTICLE = """{{Infobox River
| name = Elbe <!-- {{nested|{{deep}}}} -->
| length = {{convert|1094|km}}
}}
[[Datei:Elbe.jpg|thumb|The [[Elbe]] near [[Dresden|the city]], with a [https://example.org link]]]
'''Elbe''' ({{lang|cs|Labe}}) is a ''river''<ref name="a">{{cite web|url=https://x.example}} Not read.</ref>
in [[Central Europe]]
that flows into the [[North Sea|German Bight]].<ref name="a" /> See [https://example.org the map] &amp; &nbsp;more.

== Course ==
* It rises in the [[Krkono\u0161e]]
* It passes [[Dresden#Old town|Dresden]]
# First
{| class="wikitable"
! Town !! km
|-
| Dresden || {{nowrap|50 km}}
|-
|
{| class="inner"
| nested
|}
|}
Its power is <math>P = \\rho g {{Q}} h</math>, and <nowiki>[[no link]] {{no template}}</nowiki> stays.
<syntaxhighlight lang="python">
x = {"a": [[1]]}
</syntaxhighlight>

=== Empty ===
{{Main|Nothing}}

== Stray ==
Broken {{template and [[link and ]] braces }} end. __NOTOC__

== References ==
<references />
[[Kategorie:River in Europe|Elbe]]
[[Category:Elbe]]
[[en:Elbe]]
[[:Kategorie:Rivers]]
"""
PLAIN = """Elbe is a river
in Central Europe
that flows into the German Bight. See the map & more.

Course

- It rises in the Krkono\u0161e
- It passes Dresden
- First

Its power is $P = \\rho g {{Q}} h$, and [[no link]] {{no template}} stays.
x = {"a": [[1]]}

Stray

Broken template and link and braces end.

References

Kategorie:Rivers"""


def page(number, text, title=None, namespace=0, redirect=None, attributes=""):
    told = f'\n    <redirect title="{redirect}" />' if redirect else ""
    return f"""  <page>
    <title>{escape(title or f"Page {number}")}</title>
    <ns>{namespace}</ns>
    <id>{number}</id>{told}
    <revision>
      <id>{number + 1000}</id><parentid>1</parentid><timestamp>2024-01-0{number % 9 + 1}T00:00:00Z</timestamp>
      <contributor><username>A &amp; B</username><id>7</id></contributor>
      <comment>c</comment><model>wikitext</model><format>text/x-wiki</format>
      <text bytes="{len(text)}" xml:space="preserve"{attributes}>{escape(text)}</text>
      <sha1>x</sha1>
    </revision>
  </page>
"""


def dump(pages, head=HEAD):
    return (head + "".join(pages) + "</mediawiki>\n").encode()


def multistream(pages, size=2):
    """As Wikimedia packs them: the head, some pages each, and the end, in bzip2 streams of their own."""
    parts = [HEAD, *("".join(pages[at : at + size]) for at in range(0, len(pages), size)), "</mediawiki>\n"]
    return b"".join(bz2.compress(part.encode()) for part in parts)
