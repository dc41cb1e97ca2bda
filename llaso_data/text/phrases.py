"""Phrases that Whisper writes where nobody speaks."""

from __future__ import annotations

HALLUCINATIONS: dict[str, tuple[str, ...]] = {
    "ar": ("ترجمة نانسي قنقر", "اشتركوا في القناة", "شكرا للمشاهدة"),
    "de": (
        "Untertitel der Amara.org-Community",
        "Untertitelung des ZDF für funk",
        "Untertitel im Auftrag des ZDF",
        "Vielen Dank fürs Zuschauen",
        "Das war's für heute. Bis zum nächsten Mal",
    ),
    "en": (
        "Thanks for watching",
        "Thank you for watching",
        "Thank you very much for watching",
        "Please subscribe to my channel",
        "Don't forget to like and subscribe",
        "Like and subscribe",
        "See you in the next video",
        "Subtitles by the Amara.org community",
    ),
    "es": (
        "Subtítulos realizados por la comunidad de Amara.org",
        "Subtítulos por la comunidad de Amara.org",
        "Gracias por ver el video",
        "Suscríbete al canal",
        "No olvides suscribirte",
    ),
    "fr": (
        "Sous-titres réalisés par la communauté d'Amara.org",
        "Sous-titres réalisés para la communauté d'Amara.org",
        "Sous-titrage Société Radio-Canada",
        "Merci d'avoir regardé cette vidéo",
        "N'oubliez pas de vous abonner",
    ),
    "hi": ("देखने के लिए धन्यवाद", "चैनल को सब्सक्राइब करें"),
    "it": (
        "Sottotitoli creati dalla comunità Amara.org",
        "Sottotitoli e revisione a cura di QTSS",
        "Grazie per aver guardato il video",
        "Iscrivetevi al canale",
    ),
    "ja": ("ご視聴ありがとうございました", "チャンネル登録お願いします", "最後までご視聴いただきありがとうございます"),
    "ko": ("시청해주셔서 감사합니다", "구독과 좋아요 부탁드립니다", "한글자막 by 한효정", "MBC 뉴스 이덕영입니다"),
    "nl": (
        "Ondertiteld door de Amara.org-gemeenschap",
        "Ondertitels ingediend door de Amara.org gemeenschap",
        "TV Gelderland 2021",
        "Bedankt voor het kijken",
    ),
    "pl": (
        "Napisy stworzone przez społeczność Amara.org",
        "Dziękuję za uwagę i do zobaczenia",
        "Dzięki za oglądanie",
        "Zapraszam do subskrypcji kanału",
    ),
    "pt": (
        "Legendas pela comunidade Amara.org",
        "Obrigado por assistir",
        "Inscreva-se no canal",
        "Transcrição e Legendas Pedro Negri",
    ),
    "ru": (
        "Редактор субтитров А.Семкин Корректор А.Егорова",
        "Субтитры сделал DimaTorzok",
        "Субтитры создавал DimaTorzok",
        "Продолжение следует",
        "Спасибо за просмотр",
        "Подписывайтесь на канал",
    ),
    "th": ("ขอบคุณที่รับชม", "โปรดติดตามตอนต่อไป"),
    "tr": ("Altyazı M.K.", "İzlediğiniz için teşekkür ederim", "Abone olmayı unutmayın"),
    "vi": (
        "Cảm ơn các bạn đã theo dõi",
        "Hãy subscribe cho kênh Ghiền Mì Gõ Để không bỏ lỡ những video hấp dẫn",
        "Hẹn gặp lại các bạn trong những video tiếp theo",
    ),
    "zh": ("请不吝点赞 订阅 转发 打赏支持明镜与点点栏目", "字幕由Amara.org社区提供", "字幕by索兰娅", "谢谢观看"),
}
"""Closing phrases that Whisper invents over silence and music, by language code; normalise them to compare them."""
