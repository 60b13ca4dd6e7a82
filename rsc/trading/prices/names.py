"""Match column names, as vendors write them, to fields."""

from __future__ import annotations

import functools
import re
import unicodedata

PRICES = ("open", "high", "low", "close")

# Field -> spellings as `normalised` returns them. If a file has several, the earlier spelling wins.
_SPELLINGS = {
    "date": """date datetime date_time timestamp time_utc date_utc timestamp_utc datetime_utc utc gmt_time time
        local_time local_date time_period_start open_time time_open opentime timeopen start_time start begin bar_time
        bar_start date_g ts_event window_start ts t mts timestamp_ms timestamp_us timestamp_ns ts_ms unix_ms
        epoch_ms open_timestamp start_timestamp started_at start_at candle_begin_time candle_date_time_utc
        candle_date_time_kst unix unix_time unix_timestamp unixtime epoch epoch_time dt dates
        trade_date tradedate trading_date trading_day tradingday price_date pricedate date_price as_of asof as_of_date
        quote_date business_date effective_date formatted_date snapped_at datadate caldt dlycaldt dtyyyymmdd yyyymmdd
        day month
        created_at period datum fecha data tarih дата 日期 交易日期 时间 日時 日付 日付け 날짜 날자
        time_close close_time closetime timeclose end_time""",
    "time": "time time_of_day bar_time hour uhrzeit zeit heure hora ora saat время 时间 時刻 time_g trade_time",
    "open": """open o open_price openprice price_open opening opening_price px_open openprc opnprc dlyopen
        prcod first open_rate erster eroffnung eroffn eroffnungskurs ouverture ouv apertura abertura otwarcie acilis
        откр открытие 开盘 开盘价 始値 시가 mid_o mid_open""",
    "high": """high h high_price highprice price_high hi max maximum highest day_high px_high askhi dlyhigh prchd
        high_rate hoch tageshoch hochst hochstkurs haut plus_haut maximo maxima massimo najwyzszy yuksek hoog макс
        максимум 最高 最高价 高 高値 고가 mid_h mid_high""",
    "low": """low l low_price lowprice price_low lo min minimum lowest day_low px_low bidlo dlylow prcld low_rate
        tief tagestief tiefst tiefstkurs bas plus_bas minimo minima najnizszy dusuk laag мин минимум 最低 最低价 低
        安値 저가 mid_l mid_low""",
    "close": """close c close_price closeprice price_close closing closing_price close_last px_close close_rate
        schlusskurs schluss cloture chiusura fechamento cierre zamkniecie kapanis slot slotkoers закр закрытие 收盘
        收盘价 終値 종가 last last_price lastprice px_last dlyclose prccd prc ltp trade_price zuletzt letzter dernier ultimo
        laatste settle settlement settle_price mid_c mid_close""",
    "price": "price kurs prix precio prezzo preco preis цена simdi",
    "volume": """volume v vol real_volume volume_traded traded_volume total_volume tick_volume tickvolume tickvol
        px_volume dlyvol cshtrd volumefrom base_volume volume_base total_traded_quantity no_of_shares
        shares_traded quantity qty stuecke stucke stuck volumen wolumen hacim hac объем 成交量 交易量 出来高 거래량""",
    "adj_close": """adj_close adjclose adjusted_close adjustedclose adj_closing adj_closing_price adj_close_price
        adjusted_close_price adjusted_closing_price adjcloseprice close_adj close_adjusted closeadj closing_adj
        adjusted_price adj_price adjusted split_adjusted_close total_return_close""",
    "adj_open": "adj_open adjopen adjusted_open open_adj openadj",
    "adj_high": "adj_high adjhigh adjusted_high high_adj highadj",
    "adj_low": "adj_low adjlow adjusted_low low_adj lowadj",
    "adj_volume": "adj_volume adjvolume adjusted_volume volume_adj volumeadj",
    "split": """split splits stock_splits stock_split split_factor splitfactor split_ratio splitratio
        split_coefficient""",
    "symbol": """symbol ticker tic symbols tickers ts_code code stock_code stockcode secid instrument ric asset
        asset_id contract pair currency_pair coin security stock permno permco isin wkn figi cusip gvkey product
        underlying crypto company company_name name sid instrument_id per 股票代码 代码""",
}
_FIELD_OF = {
    field: {spelling: rank for rank, spelling in enumerate(spellings.split())}
    for field, spellings in _SPELLINGS.items()
}
# Spellings that are used for a field only if there is no better one. The choice causes a remark.
_WEAK = """first last last_price lastprice px_last ltp zuletzt letzter dernier ultimo laatste prc settle settlement
    settle_price quantity qty max min hi lo adjusted adjusted_price adj_price period day month created_at
    time_close close_time closetime timeclose end_time"""
WEAK = frozenset(_WEAK.split())
CLOSING_TIMES = frozenset({"time_close", "close_time", "closetime", "timeclose", "end_time"})
_LONGEST = 200
"""Longer texts are not column names, and regular expressions would take long on them."""
_ASIDE = re.compile(r"\([^)]*\)|\[[^\]]*\]|\{[^}]*\}")
_ADJUSTED = re.compile(r"(?<!un)(?<!not )(?<!non[- ])adj", re.IGNORECASE)
_NUMBERED = re.compile(r"^\s*\d+[a-z]?\.\s*")
_TUPLE = re.compile(r"""^\(\s*(['"])(.*?)\1\s*,\s*(['"])(.*?)\3\s*\)$""")
_FIELD_WORD = r"(adj(?:usted)?[\W_]*close|adjusted|open|high|low|close|last|volume|vol)"
_BEHIND = re.compile(rf"^(.+?)[\W_]*[\W_]{_FIELD_WORD}$", re.IGNORECASE)
_BEFORE = re.compile(rf"^{_FIELD_WORD}[\W_][\W_]*(.+)$", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@functools.lru_cache(maxsize=4096)
def normalised(name: str) -> str:
    """Return a name in lower case without accents, units, numbering and decoration: '1. Adj Close*' is 'adj_close'."""
    text = _NUMBERED.sub("", name[:_LONGEST].strip().lstrip("\ufeff"))
    text = _ASIDE.sub(_what_aside_says, text) if _ASIDE.sub(" ", text).strip() else text
    text = _CAMEL.sub("_", text).lower().replace("ß", "ss").replace("ł", "l").replace("ı", "i")
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) != "Mn")
    return re.sub(r"[\W_]+", "_", unicodedata.normalize("NFC", plain)).strip("_")


def _what_aside_says(aside: re.Match[str]) -> str:
    """Return the relevant part of words in brackets: 'Close (adj.)' differs from 'Close (USD)'."""
    return " adj " if _ADJUSTED.search(aside[0]) else " "


def rank_of(name: str, field: str) -> int | None:
    """Return the rank of a name for a field: 0 is best, None means that it does not fit."""
    return _FIELD_OF[field].get(normalised(name))


def means_anything(name: str) -> bool:
    """Return True if a name is a spelling of any field."""
    return any(normalised(name) in spellings for spellings in _FIELD_OF.values())


def is_unnamed(name: str) -> bool:
    """Return True for the names that pandas gives to unnamed columns."""
    return bool(re.fullmatch(r"(?i)\s*|unnamed: ?\d+(_level_\d+)?|__index_level_\d+__|index|level_\d+|none|nan", name))


def split_asset(name: str) -> tuple[str, str] | None:
    """Split a name with field and asset, such as 'AAPL_Close', 'BTC:open' or "('Close', 'AAPL')", into both."""
    if len(name) <= _LONGEST and (found := _TUPLE.match(name.strip())):
        return field_and_asset(found[2], found[4])
    if len(name) > _LONGEST or means_anything(name):
        return None
    words = _CAMEL.sub("_", name.strip())
    if found := _BEHIND.match(words):
        return found[2], found[1]
    if found := _BEFORE.match(words):
        return found[1], found[2].strip(" ()[]{}_")
    return None


def field_and_asset(first: str, second: str) -> tuple[str, str]:
    """Return two names as (field, asset), in whichever order they are given."""
    return (second, first) if _is_field(second) and not _is_field(first) else (first, second)


def _is_field(name: str) -> bool:
    return any(rank_of(name, field) is not None for field in (*PRICES, "volume", "adj_close"))


def is_header(names: list[str]) -> bool:
    """Return True if the names include those of bars, with or without assets."""
    fields = {field for name in names for field in (*PRICES, "price", "adj_close") if rank_of(name, field) is not None}
    if {"high", "low"} <= fields and fields & {"close", "price", "adj_close"}:
        return True
    split = [pair for pair in map(split_asset, names) if pair]
    return len([pair for pair in split if _is_field(pair[0])]) >= 4
