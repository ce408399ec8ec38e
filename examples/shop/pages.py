"""HTML, and the one place where page views are recorded: who sees a page was shown it here."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse

from .data import CATEGORIES, CURRENCY, Line, Product
from .tracking import analytics
from .visitors import visitor_of


def show(request: Request, name: str, body: str, *, category: str) -> HTMLResponse:
    """Answer with a page, and record that the visitor saw it."""
    visitor = visitor_of(request)
    analytics.page(
        name,
        category=category,
        **visitor.who,
        properties={
            "title": name,
            "url": str(request.url),
            "path": request.url.path,
            "search": request.url.query,
            "referrer": request.headers.get("referer", ""),
        },
    )
    who = f"Hello, {escape(visitor.user.name)}" if visitor.user else GUEST
    return HTMLResponse(LAYOUT.format(title=escape(name), who=who, body=body))


GUEST = '<a href="/login">Log in</a> <a href="/signup">Sign up</a>'

LAYOUT = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>body {{ font: 1.1em/1.6 system-ui; max-width: 44em; margin: 2em auto }} form {{ display: inline }}</style>
<nav><a href="/">Shop</a> <a href="/cart">Cart</a> {who}</nav>
<h1>{title}</h1>
{body}
</html>
"""

SEARCH = '<form action="/search"><input name="q" placeholder="Search" required><button>Search</button></form>'

SIGN_UP = """\
<form method="post"><input name="name" placeholder="Name" required>
<input name="email" type="email" placeholder="E-mail" required><button>Sign up</button></form>"""

# No password: this is a shop to read, not to run.
LOG_IN = """\
<form method="post"><input name="email" type="email" value="user-1@shop.example" required>
<button>Log in</button></form>"""

COMPANY = """\
<form method="post"><input name="name" placeholder="Company" required>
<input name="employees" type="number" value="5" required><button>Create the account</button></form>"""


def categories() -> str:
    return SEARCH + listing(f'<a href="/category/{name}">{name.title()}</a>' for name in CATEGORIES)


def products(found: list[Product]) -> str:
    return listing(f'<a href="/products/{p.sku}">{escape(p.name)}</a>, {money(p.price)}' for p in found)


def product(shown: Product) -> str:
    return f"<p>{money(shown.price)}</p>" + button("/cart", "Add to cart", sku=shown.sku)


def cart(lines: list[Line]) -> str:
    rows = listing(
        f"{line.quantity} {escape(line.product.name)}, {money(line.total)} "
        + button("/cart/remove", "Remove", sku=line.product.sku)
        for line in lines
    )
    return rows + ('<a href="/checkout">Check out</a>' if lines else "<p>It is empty.</p>")


def button(action: str, label: str, **fields: str) -> str:
    hidden = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in fields.items())
    return f'<form method="post" action="{action}">{hidden}<button>{label}</button></form>'


def listing(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def money(amount: Decimal) -> str:
    return f"{amount:,.2f} {CURRENCY}"
