"""2Checkout (Verifone): buy links, orders and subscriptions by REST 6.0, and what it reports by IPN and LCN."""
