# SPDX-License-Identifier: MIT
"""The demonstration's Python program: loads a table of orders as plain Python objects, groups, sorts, prints."""
import csv
import hashlib
import sys


def load(path):
    with open(path, newline="") as f:
        return [dict(row, quantity=int(row["quantity"]), cents=int(row["cents"])) for row in csv.DictReader(f)]


def group(orders, key):
    groups = {}
    for order in orders:
        groups.setdefault(order[key], []).append(order)
    return groups


def main():
    orders = load(sys.argv[1])
    digest = hashlib.sha256()
    for key in ("country", "customer", "product"):
        totals = sorted(((sum(o["cents"] * o["quantity"] for o in group_), len(group_), name)
                         for name, group_ in group(orders, key).items()), reverse=True)
        for total, count, name in totals[:3]:
            print(f"{key:10} {name:40} {count:8} orders {total / 100:16.2f}")
        digest.update(repr(totals).encode())
    orders.sort(key=lambda o: (o["day"], o["cents"], o["id"]))
    for order in orders:
        digest.update(f"{order['id']} {order['note']}\n".encode())
    print(len(orders), "orders", digest.hexdigest())


main()
