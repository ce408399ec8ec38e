"""The shop's database: products, users, carts and orders, in memory."""

from __future__ import annotations

import secrets
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from itertools import count
from typing import Any

CURRENCY = "EUR"
FREE_SHIPPING_FROM = Decimal(60)
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Product:
    sku: str
    name: str
    category: str
    price: Decimal

    def properties(self) -> dict[str, Any]:
        """The product, as the specification describes one. Its price goes out as it is: exactly."""
        return {
            "product_id": self.sku,
            "sku": self.sku,
            "name": self.name,
            "category": self.category,
            "price": self.price,
            "currency": CURRENCY,
        }


@dataclass(frozen=True)
class Line:
    product: Product
    quantity: int

    @property
    def total(self) -> Decimal:
        return self.product.price * self.quantity

    def properties(self) -> dict[str, Any]:
        return {**self.product.properties(), "quantity": self.quantity}


@dataclass(frozen=True)
class Order:
    id: str
    anonymous_id: str
    lines: list[Line]
    ordered_at: datetime

    @property
    def revenue(self) -> Decimal:
        return sum((line.total for line in self.lines), Decimal(0))

    @property
    def shipping(self) -> Decimal:
        return Decimal(0) if self.revenue >= FREE_SHIPPING_FROM else Decimal("4.90")

    @property
    def tax(self) -> Decimal:
        return (self.revenue * Decimal("0.20")).quantize(CENT)

    @property
    def total(self) -> Decimal:
        return self.revenue + self.shipping + self.tax


@dataclass(frozen=True)
class Company:
    id: str
    name: str
    employees: int
    created_at: datetime


@dataclass
class User:
    id: str
    name: str
    email: str
    created_at: datetime
    company: Company | None = None


@dataclass
class Database:
    users: dict[str, User] = field(default_factory=dict)
    """By e-mail address."""
    sessions: dict[str, User] = field(default_factory=dict)
    carts: defaultdict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """By the visitor's anonymous id: a cart is filled before anybody signs in."""
    orders: dict[str, Order] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def add_user(self, name: str, email: str) -> User:
        user = self.users[email] = User(f"user-{next(self._numbers)}", name, email, now())
        return user

    def add_session(self, user: User) -> str:
        token = secrets.token_urlsafe()
        self.sessions[token] = user
        return token

    def add_company(self, user: User, name: str, employees: int) -> Company:
        user.company = Company(f"company-{next(self._numbers)}", name, employees, now())
        return user.company

    def cart(self, anonymous_id: str) -> list[Line]:
        return [Line(PRODUCTS[sku], quantity) for sku, quantity in self.carts.get(anonymous_id, {}).items()]

    def add_to_cart(self, anonymous_id: str, sku: str) -> None:
        cart = self.carts[anonymous_id]
        cart[sku] = cart.get(sku, 0) + 1

    def remove_from_cart(self, anonymous_id: str, sku: str) -> Line | None:
        quantity = self.carts[anonymous_id].pop(sku, 0)
        return Line(PRODUCTS[sku], quantity) if quantity else None

    def add_order(self, anonymous_id: str) -> Order:
        order = Order(f"order-{next(self._numbers)}", anonymous_id, self.cart(anonymous_id), now())
        self.orders[order.id] = order
        self.carts.pop(anonymous_id, None)
        return order


def now() -> datetime:
    return datetime.now(timezone.utc)


def _products(*rows: tuple[str, str, str, str]) -> dict[str, Product]:
    return {sku: Product(sku, name, category, Decimal(price)) for sku, name, category, price in rows}


PRODUCTS = _products(
    ("can-01", "Copper Watering Can", "garden", "34.90"),
    ("can-02", "Rain Barrel, 200 l", "garden", "89.00"),
    ("hose-01", "Garden Hose, 25 m", "garden", "27.50"),
    ("rake-01", "Leaf Rake", "garden", "18.75"),
    ("pot-01", "Teapot, Blue Glaze", "kitchen", "39.95"),
    ("cup-01", "Six Cups", "kitchen", "24.00"),
    ("jar-01", "Storage Jar with Lid", "kitchen", "7.49"),
    ("torch-01", "Crème Brûlée Torch", "kitchen", "5.20"),
    ("lamp-01", "Reading Lamp", "home", "59.99"),
    ("rug-01", "Wool Rug", "home", "249.00"),
    ("clock-01", "Kitchen Clock", "home", "22.10"),
    ("box-01", "Oak Toolbox", "home", "74.30"),
)
CATEGORIES = sorted({product.category for product in PRODUCTS.values()})

db = Database()
# Customers from before this start.
for number in range(1, 41):
    db.add_user(f"User {number}", f"user-{number}@shop.example")
