"""Languages: which one a code, a name or a locale means, as BCP 47 names it.

The table here has the common languages in their common spellings, and what ISO 639 does not say of them.
``python-iso639`` has the other seven thousand languages.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# ISO 639-1; ISO 639-3, 639-2/B where it differs, and countries' codes that people write instead and that are no
# language's; English names.
_TABLE = """
aa aar Afar
ab abk Abkhazian
ae ave Avestan
af afr Afrikaans
ak aka Akan
am amh Amharic
an arg Aragonese
ar ara,arb Arabic,العربية
as asm Assamese
av ava Avaric
ay aym Aymara
az aze Azerbaijani
ba bak Bashkir
be bel Belarusian
bg bul Bulgarian
bi bis Bislama
bm bam Bambara
bn ben Bengali,Bangla
bo bod,tib Tibetan
br bre Breton
bs bos Bosnian
ca cat Catalan,Valencian
ce che Chechen
ch cha Chamorro
co cos Corsican
cr cre Cree
cs ces,cze,cz Czech
cu chu Church Slavic
cv chv Chuvash
cy cym,wel Welsh
da dan,dk Danish
de deu,ger German,Deutsch
dv div Divehi,Maldivian
dz dzo Dzongkha
ee ewe Ewe
el ell,gre,gr Greek,Modern Greek
en eng English,American English,British English,US English,UK English
eo epo Esperanto
es spa Spanish,Castilian,Español
et est,ekk Estonian
eu eus,baq Basque
fa fas,per,pes Persian,Farsi
ff ful Fulah
fi fin Finnish
fj fij Fijian
fo fao Faroese
fr fra,fre French,Français
fy fry Western Frisian,Frisian
ga gle Irish
gd gla Scottish Gaelic,Gaelic
gl glg Galician
gn grn Guarani
gu guj Gujarati
gv glv Manx
ha hau Hausa
haw haw Hawaiian
he heb,iw Hebrew
hi hin Hindi,हिन्दी
ho hmo Hiri Motu
hr hrv,scr Croatian
ht hat Haitian Creole,Haitian
hu hun Hungarian
hy hye,arm Armenian
hz her Herero
ia ina Interlingua
id ind,in Indonesian
ie ile Interlingue
ig ibo Igbo
ii iii Sichuan Yi
ik ipk Inupiaq
io ido Ido
is isl,ice Icelandic
it ita Italian,Italiano
iu iku Inuktitut
ja jpn,jp Japanese,日本語
jv jav,jw Javanese
ka kat,geo Georgian
kg kon Kongo
ki kik Kikuyu
kj kua Kuanyama
kk kaz Kazakh
kl kal Greenlandic,Kalaallisut
km khm Khmer
kn kan Kannada
ko kor Korean,한국어
kr kau Kanuri
ks kas Kashmiri
ku kur Kurdish
kv kom Komi
kw cor Cornish
ky kir Kyrgyz,Kirghiz
la lat Latin
lb ltz Luxembourgish
lg lug Ganda,Luganda
li lim Limburgish
ln lin Lingala
lo lao Lao
lt lit Lithuanian
lu lub Luba-Katanga
lv lav,lvs Latvian
mg mlg Malagasy
mh mah Marshallese
mi mri,mao Maori
mk mkd,mac Macedonian
ml mal Malayalam
mn mon,khk Mongolian
mr mar Marathi
ms msa,may,zsm Malay
mt mlt Maltese
my mya,bur Burmese,Myanmar
na nau Nauru
nd nde North Ndebele
ne nep,npi Nepali
ng ndo Ndonga
nl nld,dut Dutch,Flemish,Nederlands
nn nno Norwegian Nynorsk,Nynorsk
no nor,nb,nob Norwegian,Norwegian Bokmål,Bokmål
nr nbl South Ndebele
nv nav Navajo
ny nya Chichewa,Nyanja
oc oci Occitan
oj oji Ojibwa
om orm Oromo
or ori,ory Oriya,Odia
os oss Ossetian
pa pan Punjabi,Panjabi
pi pli Pali
pl pol Polish,Polski
ps pus,pbt Pashto,Pushto
pt por Portuguese,Brazilian Portuguese,Português
qu que Quechua
rm roh Romansh
rn run Rundi
ro ron,rum,mo,mol Romanian,Moldovan
ru rus Russian,Русский
rw kin Kinyarwanda
sa san Sanskrit
sc srd Sardinian
sd snd Sindhi
se sme Northern Sami
sg sag Sango
si sin Sinhala,Sinhalese
sk slk,slo Slovak
sl slv Slovenian
sm smo Samoan
sn sna Shona
so som Somali
sh hbs Serbo-Croatian
sq sqi,alb Albanian
sr srp,scc Serbian
ss ssw Swati
st sot Southern Sotho,Sesotho
su sun Sundanese
sv swe Swedish
sw swa,swh Swahili
ta tam Tamil
te tel Telugu
tg tgk Tajik
th tha Thai
ti tir Tigrinya
tk tuk Turkmen
tl tgl,fil Tagalog,Filipino
tn tsn Tswana
to ton Tonga
tr tur Turkish,Türkçe
ts tso Tsonga
tt tat Tatar
tw twi Twi
ty tah Tahitian
ug uig Uyghur
uk ukr,ua Ukrainian,Українська
ur urd Urdu
uz uzb,uzn Uzbek
ve ven Venda
vi vie,vn Vietnamese,Tiếng Việt
vo vol Volapük
wa wln Walloon
wo wol Wolof
xh xho Xhosa
yi yid,ji Yiddish
yo yor Yoruba
yue yue Cantonese
za zha Zhuang
zh zho,chi,cmn,cn Chinese,Mandarin,Mandarin Chinese,Simplified Chinese,Traditional Chinese,中文,汉语,漢語,普通话,国语
zu zul Zulu
ber ber Berber
bih bh Bihari
nah nah Nahuatl
nan zh-min-nan Min Nan Chinese,Hokkien,Taiwanese Hokkien,Taiwanese
"""

_COUNTRIES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW
BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI
FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN
IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME
MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF
PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV
SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE
YT ZA ZM ZW
EU UK UN XK ZZ
"""
_REGIONS = frozenset(_COUNTRIES.split())
"""ISO 3166-1, and what people and BCP 47 write besides."""

_SHORT = frozenset({"ber", "bih", "nah", "nan"})
"""Of the table, those whose name keeps a script and a region, as that of every language without two letters does."""
_NOTHING = "unknown unk none null n-a not-available not-specified unspecified undefined undetermined und auto detect -"
_UNSAID = frozenset(_NOTHING.split())
_NO_LANGUAGES = frozenset(("mis", "mul", "und", "zxx"))  # ISO 639-2's own codes for none or many
_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(-(?P<extended>[a-z]{3}))?(-(?P<script>[a-z]{4}))?(-(?P<region>[a-z]{2}|\d{3}))?"
    r"(?P<rest>(-([a-z\d]{5,8}|\d[a-z\d]{3}))*(-[a-wyz\d](-[a-z\d]{2,8})+)*(-x(-[a-z\d]{1,8})+)?)"
)
"""RFC 5646, section 2.1, in lower case."""
_ENCODING = re.compile(r"\.[\w-]+$")  # of a POSIX locale: en_US.UTF-8
_IN_BRACKETS = re.compile(r"\s*\([^()]*\)$")  # English (US)
_PRIVATE = re.compile(r"q[a-t][a-z]")


def _read() -> tuple[dict[str, str], dict[str, str]]:
    names, aliases = {}, {}
    for line in _TABLE.strip().splitlines():
        code, others, spelled = line.split(" ", 2)
        names[code] = spelled.split(",")[0]
        slugs = ["-".join(name.casefold().split()) for name in spelled.split(",")]
        aliases.update(dict.fromkeys([code, *others.split(","), *slugs], code))
    return names, aliases


LANGUAGES: dict[str, str]
"""Code → English name; ISO 639-1, ``haw`` and ``yue``, and few that ISO 639-3 does not have."""
ALIASES: dict[str, str]
"""Two- and three-letter codes and hyphenated lower-case names → code."""
LANGUAGES, ALIASES = _read()


@lru_cache(maxsize=4096)
def is_unsaid(value: str) -> bool:
    """Whether a value names no language on purpose: it is empty, ``unknown``, ``und`` …"""
    return not value.strip() or "-".join(re.split(r"[\s_/-]+", value.strip().casefold())) in _UNSAID


@lru_cache(maxsize=4096)
def language(value: str) -> str | None:
    """The language that a code, an English name or a locale means, as BCP 47 names it.

    Args:
        value: What a corpus or a user wrote: ``eng``, ``English``, ``en_US``. A country's code that people write for a
            language (``jp``) is understood where it is no language's own.

    Returns:
        The two letters of ISO 639-1 where it has the language, and ``haw`` and ``yue`` as Whisper has: ``en`` for the
        examples above, ``zh`` for ``zh-Hant``. Else the three letters of ISO 639-3, with the script and the region
        that were given: ``hsb``, ``nan-TW``. None where the value is no language, or several ("en,fr").
    """
    text = " ".join(unicodedata.normalize("NFKC", value).split()).casefold()
    for spelling in (text, _ENCODING.sub("", text.partition("@")[0]), _IN_BRACKETS.sub("", text)):
        code = ALIASES.get("-".join(re.split(r"[\s_-]+", spelling))) or _of_tag(spelling) or _of_name(spelling)
        if code is not None:
            return code
    return None


def language_name(code: str) -> str:
    """The English name of a language.

    Args:
        code: The language as :func:`language` gives it.

    Returns:
        The name, with script and region in brackets where the code has them; the code itself where there is no name.
    """
    primary, _, rest = code.partition("-")
    name = LANGUAGES.get(primary) or _registered_name(primary)
    return code if name is None else f"{name} ({rest})" if rest else name


def _of_tag(text: str) -> str | None:
    tag = _TAG.fullmatch(text.replace("_", "-"))
    if tag is None:
        return None
    primary = _of_code(tag["extended"] or tag["language"])
    region = (tag["region"] or "").upper()
    if primary is None or (region.isalpha() and region not in _REGIONS):
        return None
    if primary in LANGUAGES and primary not in _SHORT:
        return primary
    return "-".join(filter(None, (primary, (tag["script"] or "").title(), region))) + tag["rest"]


def _of_code(code: str) -> str | None:
    """Our code for two or three letters, by the table, else by ISO 639-3."""
    if code in ALIASES:
        return ALIASES[code]
    if code in _NO_LANGUAGES or len(code) != 3:
        return None
    if _PRIVATE.fullmatch(code):
        return code
    import iso639

    try:
        return _code_of(iso639.Language.from_part3(code))
    except iso639.LanguageNotFoundError:
        return None


def _of_name(text: str) -> str | None:
    import iso639

    if len(text) <= 3:  # few languages have such names, and most such words are mistakes
        return None
    for spelling in (text, re.sub(r"[-_]", " ", text)):
        try:
            return _code_of(iso639.Language.match(spelling, strict_case=False))
        except iso639.LanguageNotFoundError:
            pass
    return None


def _code_of(language: object) -> str | None:
    """Our code of a language of ISO 639-3; a code that was given up counts as the one that replaced it."""
    code = str(getattr(language, "retire_change_to", None) or getattr(language, "part3", ""))
    return None if code in _NO_LANGUAGES else ALIASES.get(code, code)


def _registered_name(code: str) -> str | None:
    import iso639

    try:
        return iso639.Language.from_part3(code).name
    except iso639.LanguageNotFoundError:
        return None
