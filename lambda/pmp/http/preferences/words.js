// The page's own words. A language that is not here gets English; the wording of consents comes from the catalogue.
const WORDS = {
  en: {
    title: "Your preferences",
    choices: "What we may send you",
    none: "Turn everything off",
    history: "What you chose, and when",
    more: "Show earlier choices",
    data: "Your data",
    dataHelp: "The file has everything that we keep about you here.",
    download: "Download your data",
    erase: "Erase your data",
    eraseHelp: "To erase your data, open this page from a link that was made for it in the last 15 minutes.",
    sure: "Erase your data?",
    sureHelp: "Your address and your choices are removed. This cannot be undone.",
    keep: "Keep it",
    eraseNow: "Erase it",
    unanswered: "You have not chosen yet.",
    onSince: "On since {date}.",
    offSince: "Off since {date}.",
    until: "Valid until {date}; we ask again then.",
    lapsed: "Your agreement has ended. Turn it on to agree again.",
    pending: "Waiting for you to confirm, by the link in our message.",
    earlier: "You agreed to an earlier wording.",
    on: "On: {wording}",
    off: "Off: {wording}",
    by: "{date}, recorded by {source}",
    nothing: "Nothing yet.",
    saved: "Saved.",
    unsaved: "Not saved. Check your connection, and try again.",
    noToken: "Open this page from the link that we sent you.",
    expired: "This link has expired or is incomplete. Ask for a new one.",
    gone: "There is nothing here: your data has been erased.",
    erased: "Your data has been erased.",
    failed: "Something went wrong. Try again in a few minutes.",
  },
  de: {
    title: "Ihre Einstellungen",
    choices: "Was wir Ihnen senden dürfen",
    none: "Alles ausschalten",
    history: "Was Sie wann gewählt haben",
    more: "Frühere Entscheidungen zeigen",
    data: "Ihre Daten",
    dataHelp: "Die Datei enthält alles, was wir hier über Sie speichern.",
    download: "Daten herunterladen",
    erase: "Daten löschen",
    eraseHelp: "Zum Löschen öffnen Sie diese Seite über einen Link, der dafür in den letzten 15 Minuten erstellt wurde.",
    sure: "Daten löschen?",
    sureHelp: "Ihre Adresse und Ihre Entscheidungen werden entfernt. Das kann nicht rückgängig gemacht werden.",
    keep: "Behalten",
    eraseNow: "Löschen",
    unanswered: "Sie haben noch nicht gewählt.",
    onSince: "An seit {date}.",
    offSince: "Aus seit {date}.",
    until: "Gültig bis {date}; danach fragen wir erneut.",
    lapsed: "Ihre Zustimmung ist abgelaufen. Schalten Sie ein, um erneut zuzustimmen.",
    pending: "Wartet auf Ihre Bestätigung über den Link in unserer Nachricht.",
    earlier: "Sie haben einem früheren Wortlaut zugestimmt.",
    on: "An: {wording}",
    off: "Aus: {wording}",
    by: "{date}, aufgezeichnet von {source}",
    nothing: "Noch nichts.",
    saved: "Gespeichert.",
    unsaved: "Nicht gespeichert. Prüfen Sie Ihre Verbindung und versuchen Sie es erneut.",
    noToken: "Öffnen Sie diese Seite über den Link, den wir Ihnen gesendet haben.",
    expired: "Dieser Link ist abgelaufen oder unvollständig. Fordern Sie einen neuen an.",
    gone: "Hier ist nichts mehr: Ihre Daten wurden gelöscht.",
    erased: "Ihre Daten wurden gelöscht.",
    failed: "Etwas ist schiefgegangen. Versuchen Sie es in einigen Minuten erneut.",
  },
  fr: {
    title: "Vos préférences",
    choices: "Ce que nous pouvons vous envoyer",
    none: "Tout désactiver",
    history: "Vos choix et leurs dates",
    more: "Afficher les choix précédents",
    data: "Vos données",
    dataHelp: "Le fichier contient tout ce que nous conservons ici à votre sujet.",
    download: "Télécharger vos données",
    erase: "Effacer vos données",
    eraseHelp: "Pour effacer vos données, ouvrez cette page depuis un lien créé pour cela au cours des 15 dernières minutes.",
    sure: "Effacer vos données ?",
    sureHelp: "Votre adresse et vos choix seront supprimés. Cette action est irréversible.",
    keep: "Conserver",
    eraseNow: "Effacer",
    unanswered: "Vous n’avez pas encore choisi.",
    onSince: "Activé depuis le {date}.",
    offSince: "Désactivé depuis le {date}.",
    until: "Valable jusqu’au {date} ; nous vous redemanderons ensuite.",
    lapsed: "Votre accord a expiré. Activez pour l’accorder de nouveau.",
    pending: "En attente de votre confirmation par le lien de notre message.",
    earlier: "Vous avez accepté une version antérieure de ce texte.",
    on: "Activé : {wording}",
    off: "Désactivé : {wording}",
    by: "{date}, enregistré par {source}",
    nothing: "Rien pour l’instant.",
    saved: "Enregistré.",
    unsaved: "Non enregistré. Vérifiez votre connexion et réessayez.",
    noToken: "Ouvrez cette page depuis le lien que nous vous avons envoyé.",
    expired: "Ce lien a expiré ou est incomplet. Demandez-en un nouveau.",
    gone: "Il n’y a plus rien ici : vos données ont été effacées.",
    erased: "Vos données ont été effacées.",
    failed: "Une erreur s’est produite. Réessayez dans quelques minutes.",
  },
};

const base = (tag) => tag.toLowerCase().split("-")[0];

/** The first of the browser's languages that the page speaks, with its country, which decides how dates look. */
export const locale = navigator.languages.find((tag) => base(tag) in WORDS) ?? "en";
export const language = base(locale);

/** A text of the page in its language, with values in place of {names}. */
export function text(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** The wording of a consent in the browser's preferred language, or as its author wrote it. */
export function wording(consent) {
  const translations = new Map(
    Object.entries(consent.translations ?? {}).map(([tag, value]) => [tag.toLowerCase(), value]),
  );
  // RFC 4647, section 3.4: look up the tag, then the tag without its last part.
  for (const wanted of navigator.languages) {
    for (let tag = wanted.toLowerCase(); tag; tag = tag.slice(0, Math.max(tag.lastIndexOf("-"), 0))) {
      if (translations.has(tag)) return translations.get(tag);
    }
  }
  return consent.description;
}
