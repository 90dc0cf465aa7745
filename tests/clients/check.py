"""Other people's clients against the simulated exchanges.

The simulator is only worth testing against if it is what clients of the real exchanges take for one. So clients that
know nothing of it are pointed at it here, and what they understand is compared with the simulator's own truth.
"""

import argparse
import asyncio
import json
import os
import sys
import traceback
import urllib.request
import xml.etree.ElementTree as ElementTree

# A proxy of the machine is not for the loopback.
os.environ["NO_PROXY"] = "*"

import ccxt
import ccxt.pro
from binance import AsyncClient, BinanceSocketManager, Client
from pycoingecko import CoinGeckoAPI

# Prices move while they are compared: by 0.02 % within a second at most.
TOLERANCE = 0.002

# Seconds that one check may take.
LIMIT = 60

BASE = ""


def truth():
    with urllib.request.urlopen(BASE + "/control/truth", timeout=10) as answer:
        return json.load(answer)


def published(exchange, direction):
    """Bid, ask and last as numbers, as the simulator says that the exchange published them."""
    quote = truth()["quotes"][exchange][direction]
    return {name: float(value) for name, value in quote.items()}


def near(what, seen, expected):
    seen, expected = float(seen), float(expected)
    if not abs(seen / expected - 1) <= TOLERANCE:
        raise AssertionError(f"{what}: {seen} is not near {expected}")


def same(what, seen, expected):
    if seen != expected:
        raise AssertionError(f"{what}: {seen!r} is not {expected!r}")


def holds(what, is_so):
    if not is_so:
        raise AssertionError(what)


# --- python-binance ---


def binance_client():
    client = Client(ping=False, requests_params={"timeout": 10})
    client.API_URL = BASE + "/binance/api"
    return client


def binance_ping():
    same("ping", binance_client().ping(), {})


def binance_server_time():
    time_ms = binance_client().get_server_time()["serverTime"]
    holds("a time in milliseconds", isinstance(time_ms, int) and time_ms > 1_600_000_000_000)


def binance_exchange_info():
    client = binance_client()
    info = client.get_exchange_info()
    trading = {row["symbol"] for row in info["symbols"] if row["status"] == "TRADING"}
    holds("BTCUSDT trades", "BTCUSDT" in trading)
    holds("no pair with roubles trades", not any(name.endswith("RUB") for name in trading))
    same("one symbol's base", client.get_symbol_info("ETHUSDT")["baseAsset"], "ETH")


def binance_orderbook_ticker():
    row = binance_client().get_orderbook_ticker(symbol="BTCUSDT")
    quote = published("binance", "BTC-USDT")
    near("bid", row["bidPrice"], quote["bid"])
    near("ask", row["askPrice"], quote["ask"])
    holds("bid below ask", float(row["bidPrice"]) < float(row["askPrice"]))


def binance_orderbook_tickers():
    rows = {row["symbol"]: row for row in binance_client().get_orderbook_tickers()}
    quotes = truth()["quotes"]["binance"]
    holds("many rows", len(rows) > 20)
    for direction, quote in quotes.items():
        near(direction, rows[direction.replace("-", "")]["bidPrice"], quote["bid"])


def binance_other_tickers():
    client = binance_client()
    quote = published("binance", "ETH-USDT")
    near("last price", client.get_symbol_ticker(symbol="ETHUSDT")["price"], quote["last"])
    near("last price of the day", client.get_ticker(symbol="ETHUSDT")["lastPrice"], quote["last"])
    near("average", client.get_avg_price(symbol="ETHUSDT")["price"], quote["last"])
    near("best bid of the depth", client.get_order_book(symbol="ETHUSDT", limit=5)["bids"][0][0], quote["bid"])
    same("klines", len(client.get_klines(symbol="ETHUSDT", interval="1m", limit=7)), 7)


def binance_error():
    from binance.exceptions import BinanceAPIException

    try:
        binance_client().get_orderbook_ticker(symbol="NOTHING")
    except BinanceAPIException as error:
        same("code", error.code, -1121)
        same("status", error.status_code, 400)
    else:
        raise AssertionError("an unknown symbol was answered")


async def listen(open_socket, count):
    """The first messages of a socket of python-binance's manager."""
    AsyncClient.API_URL = BASE + "/binance/api"
    client = await AsyncClient.create()
    try:
        manager = BinanceSocketManager(client)
        manager.STREAM_URL = BASE.replace("http", "ws", 1) + "/binance/"
        async with open_socket(manager) as socket:
            return [await socket.recv() for _ in range(count)]
    finally:
        await client.close_connection()


async def binance_book_ticker_socket():
    frames = await listen(lambda manager: manager.symbol_book_ticker_socket("BTCUSDT"), 20)
    quote = published("binance", "BTC-USDT")
    for earlier, later in zip(frames, frames[1:]):
        holds("numbers grow", earlier["u"] < later["u"])
    near("bid", frames[-1]["b"], quote["bid"])
    near("ask", frames[-1]["a"], quote["ask"])


async def binance_multiplex_socket():
    streams = ["btcusdt@bookTicker", "ethusdt@bookTicker", "btcusdt@miniTicker"]
    frames = await listen(lambda manager: manager.multiplex_socket(streams), 60)
    same("streams", {frame["stream"] for frame in frames}, set(streams))


# --- pycoingecko ---


def coingecko_client():
    client = CoinGeckoAPI()
    client.api_base_url = BASE + "/coingecko/api/v3/"
    client.request_timeout = 10
    return client


def coingecko_ping():
    holds("it says something", "gecko_says" in coingecko_client().ping())


def coingecko_price():
    prices = coingecko_client().get_price(
        ids=["bitcoin", "ethereum", "tether"],
        vs_currencies=["usd", "rub", "eur"],
        include_last_updated_at="true",
        precision="full",
    )
    for coin, asset in [("bitcoin", "BTC"), ("ethereum", "ETH"), ("tether", "USDT")]:
        for counter in ["usd", "rub", "eur"]:
            direction = f"{asset}-{counter.upper()}"
            near(direction, prices[coin][counter], published("coingecko", direction)["last"])
        holds("a time in seconds", prices[coin]["last_updated_at"] > 1_600_000_000)


def coingecko_lists():
    client = coingecko_client()
    holds("roubles", "rub" in client.get_supported_vs_currencies())
    holds("tether", any(coin["id"] == "tether" for coin in client.get_coins_list()))
    address = "0xdac17f958d2ee523a2206206994597c13d831ec7"
    price = client.get_token_price("ethereum", address, "usd")[address]["usd"]
    near("tether by its contract", price, published("coingecko", "USDT-USD")["last"])


# --- the Bank of Russia, with Python's own XML parser ---


def cbr_daily():
    with urllib.request.urlopen(BASE + "/cbr/scripts/XML_daily.asp", timeout=10) as answer:
        root = ElementTree.fromstring(answer.read())
    rates = {}
    for row in root.iter("Valute"):
        value = float(row.findtext("Value").replace(",", "."))
        rates[row.findtext("CharCode")] = value / float(row.findtext("Nominal"))
        near("unit rate", row.findtext("VunitRate").replace(",", "."), rates[row.findtext("CharCode")])
    for code in ["USD", "EUR", "KZT", "IRR"]:
        near(code, rates[code], published("cbr", f"{code}-RUB")["last"])


# --- ccxt ---

# For each exchange of ccxt: what its addresses begin with there, and with what they begin here; the symbols to look
# at, with the directions that the simulator knows them by; the simulator's name of it; and which checks it can do.
CCXT = {
    "binance": {
        "simulated": "binance",
        "checks": ["fetch_tickers", "fetch_bids_asks", "watch_bids_asks", "watch_tickers"],
        "addresses": {
            "https://api.binance.com/": "/binance/",
            "wss://stream.binance.com:9443/": "/binance/",
        },
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
        "symbols": {"BTC/USDT": "BTC-USDT", "ETH/USDT": "ETH-USDT", "ETH/BTC": "ETH-BTC"},
    },
    "kraken": {
        "simulated": "kraken",
        "checks": ["fetch_tickers", "watch_ticker"],
        "addresses": {"https://api.kraken.com": "/kraken", "wss://ws.kraken.com": "/kraken"},
        "options": {},
        "symbols": {"BTC/USD": "BTC-USD", "DOGE/EUR": "DOGE-EUR", "USDT/USD": "USDT-USD"},
    },
    "coinbaseexchange": {
        "simulated": "coinbase",
        "checks": ["watch_ticker"],
        "addresses": {
            "https://api.exchange.coinbase.com": "/coinbase",
            "wss://ws-feed.exchange.coinbase.com": "/coinbase",
        },
        "options": {},
        "symbols": {"BTC/USD": "BTC-USD", "ETH/EUR": "ETH-EUR"},
    },
    "bitstamp": {
        "simulated": "bitstamp",
        # Its sockets have no ticker, and it listens to changes of order books alone.
        "checks": ["fetch_tickers"],
        "addresses": {"https://www.bitstamp.net/": "/bitstamp/", "wss://ws.bitstamp.net": "/bitstamp"},
        "options": {},
        "symbols": {"BTC/USD": "BTC-USD", "ETH/EUR": "ETH-EUR"},
    },
    "okx": {
        "simulated": "okx",
        "checks": ["fetch_tickers", "watch_bids_asks", "watch_ticker", "watch_tickers"],
        "addresses": {"https://www.okx.com": "/okx", "wss://ws.okx.com:443": "/okx"},
        "options": {"fetchMarkets": {"types": ["spot"]}},
        "symbols": {"BTC/USDT": "BTC-USDT", "ETH/USD": "ETH-USD", "ETH/BTC": "ETH-BTC"},
    },
    "bybit": {
        "simulated": "bybit",
        # Tickers of the spot market have no bid and ask on its sockets, which its `watch_ticker` would be checked by.
        "checks": ["fetch_tickers", "watch_bids_asks", "watch_tickers"],
        "addresses": {"https://api.bybit.com": "/bybit", "wss://stream.bybit.com": "/bybit"},
        "options": {"fetchMarkets": {"types": ["spot"]}, "defaultType": "spot"},
        "symbols": {"BTC/USDT": "BTC-USDT", "ETH/EUR": "ETH-EUR", "ETH/BTC": "ETH-BTC"},
    },
    "kucoin": {
        "simulated": "kucoin",
        "checks": ["fetch_tickers", "watch_ticker", "watch_tickers"],
        "addresses": {"https://api.kucoin.com": "/kucoin"},
        # By itself its `watch_ticker` listens to snapshots of the day, which are not simulated.
        "options": {"fetchMarkets": {"types": ["spot"]}, "watchTicker": {"spotMethod": "/market/ticker"}},
        "symbols": {"BTC/USDT": "BTC-USDT", "ETH/EUR": "ETH-EUR", "ETH/BTC": "ETH-BTC"},
    },
    "bitfinex": {
        "simulated": "bitfinex",
        "checks": ["fetch_tickers", "watch_ticker"],
        "addresses": {"https://api-pub.bitfinex.com": "/bitfinex", "wss://api-pub.bitfinex.com": "/bitfinex"},
        "options": {"fetchCurrencies": False},
        "symbols": {"BTC/USD": "BTC-USD", "USDT/USD": "USDT-USD", "DOGE/USD": "DOGE-USD", "BTC/USDT": "BTC-USDT"},
    },
    "gate": {
        "simulated": "gate",
        "checks": ["fetch_tickers", "watch_bids_asks", "watch_ticker", "watch_tickers"],
        "addresses": {"https://api.gateio.ws": "/gate", "wss://api.gateio.ws": "/gate"},
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
        "symbols": {"BTC/USDT": "BTC-USDT", "ETH/USDT": "ETH-USDT", "ETH/BTC": "ETH-BTC"},
    },
    "htx": {
        "simulated": "htx",
        # Its `watch_ticker` listens to a channel of the day's figures, which is not simulated.
        "checks": ["fetch_tickers"],
        "addresses": {"https://api.huobi.pro": "/htx", "wss://api.huobi.pro": "/htx"},
        "options": {"fetchMarkets": {"types": {"spot": True, "linear": False, "inverse": False}}, "fetchCurrencies": False},
        "symbols": {"BTC/USDT": "BTC-USDT", "ETH/USDT": "ETH-USDT", "ETH/BTC": "ETH-BTC"},
    },
}


def redirected(value, addresses, hostname):
    """The same tree of addresses, pointed at the simulator."""
    if isinstance(value, dict):
        return {name: redirected(below, addresses, hostname) for name, below in value.items()}
    if isinstance(value, str):
        value = value.replace("{hostname}", hostname or "")
    for real, here in addresses.items():
        if isinstance(value, str) and value.startswith(real):
            base = BASE.replace("http", "ws", 1) if value.startswith("ws") else BASE
            return base + here + value[len(real) :]
    return value


def ccxt_client(library, name):
    row = CCXT[name]
    client = getattr(library, name)({"timeout": 10_000, "enableRateLimit": False, "options": row["options"]})
    client.urls["api"] = redirected(client.urls["api"], row["addresses"], client.hostname)
    # Lists of networks and fees are no part of what is simulated.
    client.has["fetchCurrencies"] = False
    return client


def ccxt_load_markets(name):
    markets = ccxt_client(ccxt, name).load_markets()
    for symbol in CCXT[name]["symbols"]:
        holds(f"{symbol} is active", markets[symbol]["active"])


def ccxt_fetch_ticker(name):
    client = ccxt_client(ccxt, name)
    for symbol, direction in CCXT[name]["symbols"].items():
        ticker = client.fetch_ticker(symbol)
        quote = published(CCXT[name]["simulated"], direction)
        for side in ["bid", "ask", "last"]:
            near(f"{symbol} {side}", ticker[side], quote[side])


def ccxt_fetch_tickers(name):
    tickers = ccxt_client(ccxt, name).fetch_tickers(list(CCXT[name]["symbols"]))
    for symbol, direction in CCXT[name]["symbols"].items():
        near(symbol, tickers[symbol]["last"], published(CCXT[name]["simulated"], direction)["last"])


def ccxt_fetch_bids_asks(name):
    tickers = ccxt_client(ccxt, name).fetch_bids_asks(list(CCXT[name]["symbols"]))
    for symbol, direction in CCXT[name]["symbols"].items():
        quote = published(CCXT[name]["simulated"], direction)
        near(f"{symbol} bid", tickers[symbol]["bid"], quote["bid"])
        near(f"{symbol} ask", tickers[symbol]["ask"], quote["ask"])


async def ccxt_watch(name, method, sides):
    client = ccxt_client(ccxt.pro, name)
    try:
        symbols = CCXT[name]["symbols"]
        seen = {}
        while len(seen) < len(symbols):
            told = await getattr(client, method)(list(symbols))
            seen.update({symbol: ticker for symbol, ticker in told.items() if symbol in symbols})
        for symbol, direction in symbols.items():
            quote = published(CCXT[name]["simulated"], direction)
            for side in sides:
                near(f"{symbol} {side}", seen[symbol][side], quote[side])
    finally:
        await client.close()


async def ccxt_watch_ticker(name):
    client = ccxt_client(ccxt.pro, name)
    try:
        for symbol, direction in CCXT[name]["symbols"].items():
            ticker = await client.watch_ticker(symbol)
            quote = published(CCXT[name]["simulated"], direction)
            for side in ["bid", "ask", "last"]:
                near(f"{symbol} {side}", ticker[side], quote[side])
    finally:
        await client.close()


CHECKS = [
    ("python-binance ping", binance_ping),
    ("python-binance get_server_time", binance_server_time),
    ("python-binance get_exchange_info", binance_exchange_info),
    ("python-binance get_orderbook_ticker", binance_orderbook_ticker),
    ("python-binance get_orderbook_tickers", binance_orderbook_tickers),
    ("python-binance other tickers", binance_other_tickers),
    ("python-binance error", binance_error),
    ("python-binance symbol_book_ticker_socket", binance_book_ticker_socket),
    ("python-binance multiplex_socket", binance_multiplex_socket),
    ("pycoingecko ping", coingecko_ping),
    ("pycoingecko get_price", coingecko_price),
    ("pycoingecko lists and get_token_price", coingecko_lists),
    ("xml.etree XML_daily.asp", cbr_daily),
]

CCXT_CHECKS = [
    ("ccxt {} load_markets", ccxt_load_markets),
    ("ccxt {} fetch_ticker", ccxt_fetch_ticker),
    ("ccxt {} fetch_tickers", ccxt_fetch_tickers),
    ("ccxt {} fetch_bids_asks", ccxt_fetch_bids_asks),
    ("ccxt.pro {} watch_bids_asks", lambda name: ccxt_watch(name, "watch_bids_asks", ["bid", "ask"])),
    ("ccxt.pro {} watch_ticker", ccxt_watch_ticker),
    ("ccxt.pro {} watch_tickers", lambda name: ccxt_watch(name, "watch_tickers", ["last"])),
]

# What every exchange of ccxt can do.
CCXT_ALWAYS = ["load_markets", "fetch_ticker"]


async def run_one(check):
    if asyncio.iscoroutinefunction(check):
        await check()
    else:
        returned = await asyncio.to_thread(check)
        if asyncio.iscoroutine(returned):
            await returned


def run(name, check):
    try:
        asyncio.run(asyncio.wait_for(run_one(check), LIMIT))
    except Exception as error:
        print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
        traceback.print_exc()
        return False
    print(f"ok   {name}", flush=True)
    return True


def main():
    global BASE
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True, help="where the simulator listens: http://127.0.0.1:9900")
    BASE = parser.parse_args().base.rstrip("/")
    checks = list(CHECKS)
    for exchange in CCXT:
        for name, check in CCXT_CHECKS:
            if name.split()[-1] not in CCXT_ALWAYS + CCXT[exchange]["checks"]:
                continue
            checks.append((name.format(exchange), lambda check=check, exchange=exchange: check(exchange)))
    results = [run(name, check) for name, check in checks]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
