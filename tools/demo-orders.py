# SPDX-License-Identifier: MIT
"""The demonstration's Python program: loads a table of orders as plain Python objects, totals them by three keys, finds the largest, prints."""
import csv
import hashlib
import heapq
import sys


def load(path):
    with open(path, newline="") as f:
        return [dict(row, quantity=int(row["quantity"]), cents=int(row["cents"])) for row in csv.DictReader(f)]


def totals(orders, key):
    sums = {}
    for order in orders:
        amount, count = sums.get(order[key], (0, 0))
        sums[order[key]] = (amount + order["cents"] * order["quantity"], count + 1)
    return sorted(((amount, count, name) for name, (amount, count) in sums.items()), reverse=True)


def main():
    orders = load(sys.argv[1])
    digest = hashlib.sha256()
    for key in ("country", "customer", "product"):
        rows = totals(orders, key)
        for amount, count, name in rows[:3]:
            print(f"{key:10} {name:40} {count:8} orders {amount / 100:16.2f}")
        digest.update(repr(rows).encode())
    for order in heapq.nlargest(1000, orders, key=lambda o: (o["cents"] * o["quantity"], o["id"])):
        digest.update(f"{order['id']} {order['note']}\n".encode())
    for order in orders:
        digest.update(order["note"].encode())
    print(len(orders), "orders", digest.hexdigest())


main()
