"""Languages: ISO 639-1 codes, their three-letter codes and English names."""

from __future__ import annotations

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
ar ara,arb Arabic
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
de deu,ger German
dv div Divehi,Maldivian
dz dzo Dzongkha
ee ewe Ewe
el ell,gre,gr Greek
en eng English
eo epo Esperanto
es spa Spanish,Castilian
et est,ekk Estonian
eu eus,baq Basque
fa fas,per,pes Persian,Farsi
ff ful Fulah
fi fin Finnish
fj fij Fijian
fo fao Faroese
fr fra,fre French
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
hi hin Hindi
ho hmo Hiri Motu
hr hrv Croatian
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
it ita Italian
iu iku Inuktitut
ja jpn,jp Japanese
jv jav,jw Javanese
ka kat,geo Georgian
kg kon Kongo
ki kik Kikuyu
kj kua Kuanyama
kk kaz Kazakh
kl kal Greenlandic,Kalaallisut
km khm Khmer
kn kan Kannada
ko kor Korean
kr kau Kanuri
ks kas Kashmiri
ku kur,kmr,ckb Kurdish
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
nl nld,dut Dutch,Flemish
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
pl pol Polish
ps pus,pbt Pashto,Pushto
pt por Portuguese
qu que Quechua
rm roh Romansh
rn run Rundi
ro ron,rum Romanian,Moldovan
ru rus Russian
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
sq sqi,alb Albanian
sr srp Serbian
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
tr tur Turkish
ts tso Tsonga
tt tat Tatar
tw twi Twi
ty tah Tahitian
ug uig Uyghur
uk ukr,ua Ukrainian
ur urd Urdu
uz uzb,uzn Uzbek
ve ven Venda
vi vie,vn Vietnamese
vo vol Volapük
wa wln Walloon
wo wol Wolof
xh xho Xhosa
yi yid,ji Yiddish
yo yor Yoruba
yue yue Cantonese
za zha Zhuang
zh zho,chi,cmn,cn Chinese,Mandarin,Mandarin Chinese
zu zul Zulu
"""


def _read() -> tuple[dict[str, str], dict[str, str]]:
    names, aliases = {}, {}
    for line in _TABLE.strip().splitlines():
        code, others, spelled = line.split(" ", 2)
        names[code] = spelled.split(",")[0]
        slugs = ["-".join(name.casefold().split()) for name in spelled.split(",")]
        aliases.update(dict.fromkeys([code, *others.split(","), *slugs], code))
    return names, aliases


LANGUAGES: dict[str, str]
"""Code → English name; ISO 639-1, and ``haw`` and ``yue``."""
ALIASES: dict[str, str]
"""Two- and three-letter codes and hyphenated lower-case names → code."""
LANGUAGES, ALIASES = _read()
