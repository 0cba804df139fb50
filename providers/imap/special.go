package imap

import "strings"

// specialNames are the names that hosts and mail programs give to folders of a special use,
// in lower case: English, German, French, Spanish, Italian, Dutch, Polish,
// Portuguese, Czech, Danish, Swedish. They count where no attribute says more.
var specialNames = map[string][]string{
	`\Sent`: {
		"sent", "sent items", "sent messages", "sent mail", "sent-mail",
		"gesendet", "gesendete objekte", "gesendete elemente", "gesendete nachrichten",
		"éléments envoyés", "messages envoyés", "objets envoyés", "envoyés", "courrier envoyé",
		"enviados", "elementos enviados", "mensajes enviados", "correo enviado",
		"inviati", "inviata", "posta inviata", "elementi inviati", "messaggi inviati",
		"verzonden", "verzonden items", "verzonden berichten", "verzonden objecten",
		"wysłane", "elementy wysłane", "wiadomości wysłane",
		"itens enviados", "mensagens enviadas", "enviadas", "enviado",
		"odeslané", "odeslaná pošta", "sendt", "sendt post", "skickat", "skickade objekt",
	},
	`\Drafts`: {
		"drafts", "draft", "entwürfe", "entwurf", "brouillons", "brouillon",
		"borradores", "borrador", "bozze", "bozza", "concepten", "concept",
		"wersje robocze", "kopie robocze", "szkice", "robocze", "rascunhos", "rascunho",
		"koncepty", "rozepsané", "kladder", "utkast",
	},
	`\Trash`: {
		"trash", "deleted items", "deleted messages", "deleted", "bin",
		"papierkorb", "gelöscht", "gelöschte objekte", "gelöschte elemente", "gelöschte nachrichten",
		"corbeille", "éléments supprimés", "messages supprimés", "poubelle",
		"papelera", "elementos eliminados", "eliminados", "papelera de reciclaje",
		"cestino", "posta eliminata", "elementi eliminati", "eliminata",
		"prullenbak", "prullenmand", "verwijderde items", "verwijderd", "verwijderde berichten",
		"kosz", "elementy usunięte", "usunięte",
		"lixeira", "lixo", "itens eliminados", "itens excluídos", "reciclagem",
		"koš", "odstraněná pošta", "papirkurv", "slettet post", "papperskorgen", "borttaget",
	},
	`\Junk`: {
		"junk", "spam", "junk email", "junk e-mail", "junk mail", "bulk mail", "spamverdacht", "spam-verdacht",
		"unerwünscht", "unerwünschte werbung", "unerwünschte e-mails",
		"courrier indésirable", "indésirables", "pourriel", "pourriels",
		"correo no deseado", "no deseado", "posta indesiderata", "indesiderata",
		"ongewenst", "ongewenste e-mail", "ongewenste mail", "reclame",
		"wiadomości-śmieci", "niechciane", "niechciana poczta", "śmieci",
		"lixo eletrônico", "lixo eletrónico", "lixo electrónico", "correio indesejado",
		"nevyžádaná pošta", "uønsket mail", "skräppost",
	},
	`\Archive`: {
		"archive", "archives", "archiv", "archivé", "archivo", "archivos", "archivio",
		"archief", "archiwum", "arquivo", "arquivos", "arquivadas", "arkiv",
	},
}

// useOf maps each of specialNames to its use.
var useOf = func() map[string]string {
	m := map[string]string{}
	for use, names := range specialNames {
		for _, name := range names {
			m[name] = use
		}
	}
	return m
}()

// useByName returns the special use that a folder's name stands for, "" for none.
// Only the first level counts, and the one below INBOX, where some servers
// keep everything.
func useByName(name string) string {
	if len(name) > 6 && strings.EqualFold(name[:6], "INBOX/") {
		name = name[6:]
	}
	return useOf[strings.ToLower(strings.TrimSpace(name))]
}
