"""The language of a file: by its name, its ending, or the interpreter that its first line names.

A table of its own: 170 endings of what is common. An ending that several languages share has the one that is most usual
(`.h` is C, `.m` Objective-C, `.pl` Perl); what it does not have is null, and not guessed.
"""

from __future__ import annotations

import re

__all__ = ["language_of"]

ENDINGS = {
    ending: language
    for language, endings in {
        "Ada": "adb ads", "Assembly": "asm s", "AWK": "awk", "Batch": "bat cmd", "BibTeX": "bib", "C": "c h", "C#": "cs csx",
        "C++": "cc cpp cxx c++ hh hpp hxx h++ ipp tpp inl", "CMake": "cmake", "COBOL": "cbl cob", "CSS": "css", "CSV": "csv",
        "Clojure": "clj cljs cljc edn", "CoffeeScript": "coffee", "Common Lisp": "lisp lsp cl", "Crystal": "cr",
        "Cuda": "cu cuh", "Cython": "pyx pxd pxi", "D": "d", "Dart": "dart", "Diff": "diff patch", "Elixir": "ex exs",
        "Elm": "elm", "Emacs Lisp": "el", "Erlang": "erl hrl", "F#": "fs fsi fsx", "Fortran": "f f90 f95 f03 f08 for",
        "GLSL": "glsl vert frag", "Gettext": "po pot", "Go": "go", "GraphQL": "graphql gql", "Groovy": "groovy gradle",
        "HCL": "tf hcl tfvars", "HTML": "html htm xhtml", "Haskell": "hs lhs", "INI": "ini cfg conf", "JSON": "json jsonc",
        "JSON Lines": "jsonl ndjson", "Java": "java", "JavaScript": "js mjs cjs jsx", "Julia": "jl",
        "Jupyter Notebook": "ipynb", "Kotlin": "kt kts", "LLVM": "ll", "Lean": "lean", "Less": "less", "Lua": "lua",
        "M4": "m4 ac am", "MLIR": "mlir", "Makefile": "mk mak", "Markdown": "md markdown mdx", "Nim": "nim nims", "Nix": "nix",
        "OCaml": "ml mli mll mly", "Objective-C": "m", "Objective-C++": "mm", "PHP": "php phtml", "Pascal": "pas pp",
        "Perl": "pl pm t pod", "PowerShell": "ps1 psm1 psd1", "Prolog": "pro", "Protocol Buffer": "proto",
        "Python": "py pyi pyw", "R": "r", "Racket": "rkt", "Rocq": "v", "Roff": "1 2 3 4 5 6 7 8 man roff",
        "Ruby": "rb rake gemspec", "Rust": "rs", "SCSS": "scss sass", "SQL": "sql", "SVG": "svg", "Scala": "scala sc sbt",
        "Scheme": "scm ss", "Shell": "sh bash zsh ksh fish", "Solidity": "sol", "Starlark": "bzl bazel star",
        "Svelte": "svelte", "Swift": "swift", "SystemVerilog": "sv svh", "TOML": "toml", "TSV": "tsv", "TeX": "tex sty cls",
        "Tcl": "tcl", "Text": "txt text", "TypeScript": "ts tsx mts cts", "VHDL": "vhd vhdl", "Vim script": "vim",
        "Visual Basic": "vb bas", "Vue": "vue", "WebAssembly": "wat wast", "XML": "xml xsd xsl xslt", "YAML": "yaml yml",
        "Zig": "zig", "reStructuredText": "rst",
    }.items()
    for ending in endings.split()
}  # fmt: skip
NAMES = {
    "makefile": "Makefile", "gnumakefile": "Makefile", "dockerfile": "Dockerfile", "containerfile": "Dockerfile",
    "cmakelists.txt": "CMake", "gemfile": "Ruby", "rakefile": "Ruby", "jenkinsfile": "Groovy", "vagrantfile": "Ruby",
    "build": "Starlark", "workspace": "Starlark", "go.mod": "Go module", "configure.ac": "M4", "cargo.lock": "TOML",
    "pipfile": "TOML", "kconfig": "Kconfig", "meson.build": "Meson", "sconstruct": "Python", "sconscript": "Python",
    "readme": "Text", "copying": "Text", "license": "Text", "changelog": "Text", ".bashrc": "Shell", ".profile": "Shell",
    ".gitignore": "Ignore list", ".gitattributes": "Git attributes", ".editorconfig": "INI",
}  # fmt: skip
INTERPRETERS = {
    "python": "Python", "pypy": "Python", "sh": "Shell", "bash": "Shell", "dash": "Shell", "zsh": "Shell", "ksh": "Shell",
    "fish": "Shell", "perl": "Perl", "ruby": "Ruby", "node": "JavaScript", "deno": "TypeScript", "lua": "Lua", "php": "PHP",
    "tclsh": "Tcl", "wish": "Tcl", "awk": "AWK", "gawk": "AWK", "make": "Makefile", "rscript": "R", "julia": "Julia",
    "guile": "Scheme", "groovy": "Groovy", "runhaskell": "Haskell", "pwsh": "PowerShell",
}  # fmt: skip
SHEBANG = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+|\w+=\S*\s+)*)?(?:\S*/)?([A-Za-z]+)[\d.]*(?:\s|$)")


def language_of(path: str, text: str) -> str | None:
    """The language of a file; None where neither its name nor its first line tells.

    Args:
        path: Its path, with forward slashes.
        text: What it says.
    """
    name = path.rpartition("/")[2].lower()
    if name in NAMES:
        return NAMES[name]
    stem, dot, ending = name.rpartition(".")
    if dot and stem and ending in ENDINGS:
        return ENDINGS[ending]
    found = SHEBANG.match(text[:200])
    return INTERPRETERS.get(found[1].lower()) if found else None
