package document

import "strings"

// bad are documents that the standard refuses, and a few beside them that it takes.
func bad() map[string]string {
	e := corpus["receiving"]
	change := func(from string, old, new string) string {
		if !strings.Contains(from, old) {
			panic(old + " is not in " + from)
		}
		return documentOf(strings.Replace(from, old, new, 1))
	}
	return map[string]string{
		"no type":                      change(e, `"type":"ObjectEvent",`, ``),
		"no time":                      change(e, `"eventTime":"2005-04-04T20:33:31.116-06:00",`, ``),
		"no zone":                      change(e, `"eventTimeZoneOffset":"-06:00",`, ``),
		"a zone out of form":           change(e, `"eventTimeZoneOffset":"-06:00"`, `"eventTimeZoneOffset":"-6:00"`),
		"a zone too far":               change(e, `"eventTimeZoneOffset":"-06:00"`, `"eventTimeZoneOffset":"+14:30"`),
		"a time without zone":          change(e, `"2005-04-04T20:33:31.116-06:00"`, `"2005-04-04T20:33:31.116"`),
		"a day":                        change(e, `"2005-04-04T20:33:31.116-06:00"`, `"2005-04-04"`),
		"a time that is none":          change(e, `"2005-04-04T20:33:31.116-06:00"`, `"2005-13-04T20:33:31.116-06:00"`),
		"a number as time":             change(e, `"2005-04-04T20:33:31.116-06:00"`, `5`),
		"no action":                    change(e, `"action":"OBSERVE",`, ``),
		"another action":               change(e, `"action":"OBSERVE"`, `"action":"observe"`),
		"a relative name":              change(e, `"urn:epc:id:sgtin:0614141.107346.2018"`, `"0614141.107346.2018"`),
		"a number as name":             change(e, `"urn:epc:id:sgtin:0614141.107346.2018"`, `2018`),
		"a name twice":                 change(e, `"urn:epc:id:sgtin:0614141.107346.2018"`, `"urn:epc:id:sgtin:0614141.107346.2018","urn:epc:id:sgtin:0614141.107346.2018"`),
		"a list that is none":          change(e, `["urn:epc:id:sgtin:0614141.107346.2018"]`, `"urn:epc:id:sgtin:0614141.107346.2018"`),
		"a step of nobody":             change(e, `"bizStep":"receiving"`, `"bizStep":"recieving"`),
		"a step in the old spelling":   change(e, `"bizStep":"receiving"`, `"bizStep":"urn:epcglobal:cbv:bizstep:receiving"`),
		"a step as web word":           change(e, `"bizStep":"receiving"`, `"bizStep":"https://ns.gs1.org/cbv/BizStep-receiving"`),
		"a step of one's own":          change(e, `"bizStep":"receiving"`, `"bizStep":"https://example.com/receiving"`),
		"a disposition of nobody":      change(e, `"disposition":"in_progress"`, `"disposition":"progressing"`),
		"an unknown member":            change(e, `"disposition":"in_progress"`, `"mood":"good"`),
		"a member with a prefix":       change(e, `"disposition":"in_progress"`, `"example:mood":"good"`),
		"another type's member":        change(e, `"disposition":"in_progress"`, `"childEPCs":["urn:epc:id:sgtin:0614141.107346.2018"]`),
		"a place without id":           change(e, `"bizLocation":{"id":"urn:epc:id:sgln:0012345.11111.0"}`, `"bizLocation":{}`),
		"a place as text":              change(e, `"bizLocation":{"id":"urn:epc:id:sgln:0012345.11111.0"}`, `"bizLocation":"urn:epc:id:sgln:0012345.11111.0"`),
		"a place with more":            change(e, `"bizLocation":{"id":"urn:epc:id:sgln:0012345.11111.0"}`, `"bizLocation":{"id":"urn:epc:id:sgln:0012345.11111.0","name":"dock"}`),
		"a transaction of no type":     change(e, `"type":"po"`, `"type":"purchase"`),
		"a transaction without id":     change(e, `{"type":"po","bizTransaction":"http://transaction.acme.com/po/12345678"}`, `{"type":"po"}`),
		"a transaction with more":      change(e, `{"type":"po",`, `{"example:x":"1","type":"po",`),
		"nothing":                      change(e, `"epcList":["urn:epc:id:sgtin:0614141.107346.2018"],`, ``),
		"no quantities":                change(corpus["class instance"], `[{"epcClass":"urn:epc:class:lgtin:4054739.099914.20160711","quantity":1500}]`, `[]`),
		"a quantity as text":           change(corpus["class instance"], `1500`, `"1500"`),
		"a unit out of form":           change(corpus["quantities"], `"KGM"`, `"kg"`),
		"a quantity of nothing":        change(corpus["quantities"], `"epcClass":"urn:epc:class:lgtin:4012345.012345.998877",`, ``),
		"a source of no type":          change(corpus["quantities"], `"type":"possessing_party",`, ``),
		"a source in the wrong list":   change(corpus["quantities"], `"destination":`, `"source":`),
		"ilmd of an observation":       change(corpus["commissioning with ilmd"], `"action":"ADD"`, `"action":"OBSERVE"`),
		"ilmd of no namespace":         change(corpus["commissioning with ilmd"], `"example:batch"`, `"batch"`),
		"children of nobody":           change(corpus["packing"], `["urn:epc:id:sgtin:0614141.107346.2017","urn:epc:id:sgtin:0614141.107346.2018"]`, `[]`),
		"an association of no parent":  change(corpus["association"], `"parentID":"urn:epc:id:grai:4012345.55555.987",`, ``),
		"a transaction of nothing":     change(corpus["transaction of classes"], `"quantityList":[{"epcClass":"urn:epc:class:lgtin:4012345.011111.4444","quantity":5}],`, ``),
		"no transaction":               change(corpus["transaction of classes"], `[{"bizTransaction":"urn:epcglobal:cbv:bt:5200001000008:4711"}]`, `[]`),
		"a transformation with action": change(corpus["transformation with id"], `"transformationID"`, `"action":"ADD","transformationID"`),
		"dispositions of neither kind": change(corpus["certification"], `{"set":["completeness_verified"],"unset":["completeness_inferred"]}`, `{}`),
		"no disposition set":           change(corpus["certification"], `["completeness_verified"]`, `[]`),
		"a disposition twice":          change(corpus["certification"], `["completeness_verified"]`, `["completeness_verified","completeness_verified"]`),
		"a sensor without report":      change(corpus["sensor statistics"], `{"sensorReport":[{"type":"Temperature","exception":"ALARM_CONDITION","value":-2.5,"uom":"CEL"}]}`, `{"sensorMetadata":{}}`),
		"an empty report":              change(corpus["sensor statistics"], `[{"type":"Temperature","exception":"ALARM_CONDITION","value":-2.5,"uom":"CEL"}]`, `[]`),
		"a report of no type":          change(corpus["sensor statistics"], `"type":"Temperature","exception"`, `"exception"`),
		"a measure of nobody":          change(corpus["sensor statistics"], `"type":"Temperature","exception"`, `"type":"Warmth","exception"`),
		"a measure as web word":        change(corpus["sensor statistics"], `"type":"Temperature","exception"`, `"type":"https://gs1.org/voc/Temperature","exception"`),
		"an alert of nobody":           change(corpus["sensor statistics"], `"ALARM_CONDITION"`, `"FIRE"`),
		"a value as text":              change(corpus["sensor statistics"], `"value":-2.5`, `"value":"-2.5"`),
		"a report's unknown member":    change(corpus["sensor statistics"], `"value":-2.5`, `"reading":-2.5`),
		"a metadata's unknown member":  change(corpus["sensor statistics"], `"deviceID":`, `"device":`),
		"a device without URI":         change(corpus["sensor statistics"], `"urn:epc:id:giai:4000001.111"`, `"logger 5"`),
		"hex that is none":             change(corpus["sensor of other values"], `"F0F0F0"`, `"F0G0"`),
		"a boolean as text":            change(corpus["sensor of other values"], `"booleanValue":true`, `"booleanValue":"true"`),
		"a component of nobody":        change(corpus["sensor of other values"], `"component":"x"`, `"component":"w"`),
		"an error without time":        change(corpus["an error declared"], `"declarationTime":"2020-01-14T23:00:00.000+00:00",`, ``),
		"an error of no reason":        change(corpus["an error declared"], `"reason":"incorrect_data"`, `"reason":"oops"`),
		"an id that is none":           change(e, `"action"`, `"eventID":"5","action"`),
		"a certificate":                change(e, `"action"`, `"certificationInfo":["https://example.org/c/1"],"action"`),
		"a certificate that is none":   change(e, `"action"`, `"certificationInfo":[5],"action"`),
		"a document without body":      strings.Replace(documentOf(e), `"epcisBody"`, `"example:body"`, 1),
		"a document without date":      strings.Replace(documentOf(e), `"creationDate":"2026-03-01T00:00:00Z",`, ``, 1),
		"a document without version":   strings.Replace(documentOf(e), `"schemaVersion":"2.0",`, ``, 1),
		"a version out of form":        strings.Replace(documentOf(e), `"2.0"`, `"two"`, 1),
		"a document without context":   strings.Replace(documentOf(e), `"@context":`+testContext+`,`, ``, 1),
		"an event without context":     e,
		"a document's unknown member":  strings.Replace(documentOf(e), `"schemaVersion"`, `"author":"me","schemaVersion"`, 1),
		"a document with a header":     strings.Replace(documentOf(e), `"schemaVersion"`, `"epcisHeader":{"epcisMasterData":{"vocabularyList":[{"type":"urn:epcglobal:epcis:vtype:BusinessLocation","vocabularyElementList":[{"id":"urn:epc:id:sgln:0037000.00729.0","attributes":[{"id":"cbvmda:site","attribute":"0037000007296"}]}]}]}},"schemaVersion"`, 1),
		"a header out of form":         strings.Replace(documentOf(e), `"schemaVersion"`, `"epcisHeader":{"epcisMasterData":{"vocabularyList":[{"vocabularyElementList":[]}]}},"schemaVersion"`, 1),
		"no events":                    documentOf(),
	}
}

// stricter is what GS1's schema takes and is refused here, and in which words.
func stricter() map[string]struct{ event, want string } {
	replace := func(name, old, new string) string {
		e := corpus[name]
		if !strings.Contains(e, old) {
			panic(old + " is not in " + name)
		}
		return strings.Replace(e, old, new, 1)
	}
	return map[string]struct{ event, want string }{
		"a wrong check digit":       {replace("commissioning with ilmd", "09521321012349", "09521321012346"), "check digit"},
		"no EPC":                    {replace("receiving", "urn:epc:id:sgtin:0614141.107346.2018", "urn:epc:id:sgtin:0614141.2018"), "no EPC that is known here"},
		"a type of one's own":       {replace("receiving", `"ObjectEvent"`, `"https://example.com/Event"`), "no type of event"},
		"packing into nothing":      {replace("packing", `"parentID":"urn:epc:id:sscc:0614141.1234567890",`, ``), "has no parent"},
		"a parent in itself":        {replace("packing", "urn:epc:id:sgtin:0614141.107346.2017", "urn:epc:id:sscc:0614141.1234567890"), "is the parent and listed"},
		"half a transformation":     {replace("transformation with id", `"inputEPCList":["https://id.gs1.org/01/04012345111224/21/25"],`, ``), "0 inputs"},
		"an input that comes out":   {replace("transformation with id", `"https://id.gs1.org/01/04012345111118/10/4444"`, `"https://id.gs1.org/01/04012345111224/21/25"`), "is an input and listed"},
		"before 1970":               {replace("receiving", `"2005-`, `"1905-`), "before 1970"},
		"a TID of another":          {replace("commissioning with tids", `"trailmark:epc":"urn:epc:id:sgtin:0952123.454321.1001"`, `"trailmark:epc":"urn:epc:id:sgtin:0952123.454321.1002"`), "does not name"},
		"a TID that is no hex":      {replace("commissioning with tids", "E2801160200067AB", "E28Z"), "trailmark:tid"},
		"a TID that is short":       {replace("commissioning with tids", "E2801160200067AB", "E280"), "want 4 to 64"},
		"a TID of a transformation": {replace("transformation", `"example:batch":"XYZ"`, `"urn:trailmark:tags":[{"urn:trailmark:epc":"urn:epc:id:sgtin:4012345.077889.25","urn:trailmark:tid":"E2801160"}]`), "commissioned only"},
		"a name too long to sign":   {replace("own vocabulary", "urn:epc:id:giai:4000001.12345", "https://example.com/"+strings.Repeat("x", 260)), "the longest that is signed"},
		"an observation of nothing": {`{"type":"ObjectEvent","eventTime":"2021-05-01T10:00:00Z","eventTimeZoneOffset":"+00:00","epcList":[],"action":"OBSERVE"}`, "nothing is named"},
	}
}
