"""The style sheet of the HTML page. Its colours keep WCAG AA in light and in dark."""

STYLE = """
:root { color-scheme: light dark; --fg: #1b1b1b; --bg: #fff; --line: #c8c8c8; --dim: #5c5c5c;
  --bad: #b3261e; --good: #1e6b34; --gone: #8a5a00; --up: #55651c; --mark: #fff; --box: #f4f4f4; }
@media (prefers-color-scheme: dark) {
  :root { --fg: #e8e8e8; --bg: #141414; --line: #4a4a4a; --dim: #ababab; --bad: #f58a82;
    --good: #6fd08a; --gone: #e2b04a; --up: #bcca6a; --mark: #000; --box: #222; }
}
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 70rem;
  color: var(--fg); background: var(--bg); }
h1 { font-size: 1.3rem; margin: 0 0 .2rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { margin: .2rem 0; } .dim { color: var(--dim); font-size: .85rem; }
.verdict { font-size: 1.15rem; font-weight: bold; margin: .6rem 0 .3rem; padding: .4rem .7rem;
  border-left: .4rem solid currentColor; background: var(--box); }
.bad { color: var(--bad); } .good { color: var(--good); } p.unproven { color: var(--gone); }
pre { background: var(--box); padding: .5rem .7rem; overflow-x: auto; user-select: all; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .4rem; }
.scroll:focus-visible, pre:focus-visible { outline: 3px solid var(--good); }
table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
tbody th { position: sticky; left: 0; background: var(--bg); min-width: 9rem; max-width: 9rem;
  overflow-wrap: anywhere; font-weight: normal; }
th.up { writing-mode: vertical-rl; white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
td.mark { text-align: center; font-weight: bold; color: var(--mark); }
td.wrong, td.still { background: var(--bad); } td.gone, td.unproven { background: var(--gone); }
td.healed, td.right { background: var(--good); } td.given { background: var(--up); }
ul { list-style: none; padding: 0; margin: 0; }
li { padding: .5rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
code { font-size: .9em; overflow-wrap: anywhere; } td code { white-space: nowrap; }
"""
