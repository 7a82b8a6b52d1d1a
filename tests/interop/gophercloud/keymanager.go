// Goes through everything gophercloud's key manager packages can do, as Terraform's provider does.
//
// Its input is one JSON object: how to log in at Keystone, and ids of others; the first difference from what is
// expected ends it with a message. It prints the names of the steps it has done.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"runtime"
	"sort"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud"
	"github.com/gophercloud/gophercloud/openstack"
	"github.com/gophercloud/gophercloud/openstack/keymanager/v1/acls"
	"github.com/gophercloud/gophercloud/openstack/keymanager/v1/containers"
	"github.com/gophercloud/gophercloud/openstack/keymanager/v1/orders"
	"github.com/gophercloud/gophercloud/openstack/keymanager/v1/secrets"
	"github.com/gophercloud/gophercloud/pagination"
)

const timeout = 30 * time.Second

type input struct {
	AuthURL     string `json:"auth_url"`
	UserID      string `json:"user_id"`
	Password    string `json:"password"`
	ProjectID   string `json:"project_id"`
	Region      string `json:"region"`
	OtherUserID string `json:"other_user_id"`
}

// fail ends the program with the line that noticed.
func fail(message string) {
	_, _, line, _ := runtime.Caller(2)
	fmt.Fprintf(os.Stderr, "line %d: %s\n", line, message)
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func equal(found, expected interface{}) {
	if !reflect.DeepEqual(found, expected) {
		fail(fmt.Sprintf("found %#v, expected %#v", found, expected))
	}
}

func gone(err error) {
	if _, notFound := err.(gophercloud.ErrDefault404); !notFound {
		fail(fmt.Sprintf("found %v, expected 404", err))
	}
}

// idOf is what Terraform's provider keeps of a reference.
func idOf(reference string) string {
	parts := strings.Split(reference, "/")
	return parts[len(parts)-1]
}

func recent(moment time.Time) {
	if age := time.Since(moment); age > time.Hour || age < -time.Hour {
		fail(fmt.Sprintf("%v is not about now", moment))
	}
}

func connect(who input) *gophercloud.ServiceClient {
	provider, err := openstack.NewClient(who.AuthURL)
	must(err)
	provider.HTTPClient = http.Client{Timeout: timeout}
	options := gophercloud.AuthOptions{
		IdentityEndpoint: who.AuthURL,
		UserID:           who.UserID,
		Password:         who.Password,
		TenantID:         who.ProjectID,
	}
	must(openstack.Authenticate(provider, options))
	client, err := openstack.NewKeyManagerV1(provider, gophercloud.EndpointOpts{Region: who.Region})
	must(err)
	return client
}

func payload(client *gophercloud.ServiceClient, id string, options secrets.GetPayloadOptsBuilder) []byte {
	content, err := secrets.GetPayload(client, id, options).Extract()
	must(err)
	return content
}

func store(client *gophercloud.ServiceClient, name, content string) string {
	made, err := secrets.Create(client, secrets.CreateOpts{
		Name: name, Payload: content, PayloadContentType: "text/plain", SecretType: secrets.OpaqueSecret,
	}).Extract()
	must(err)
	return made.SecretRef
}

func secretsAndPayloads(client *gophercloud.ServiceClient) {
	expiration := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	made, err := secrets.Create(client, secrets.CreateOpts{
		Algorithm: "aes", BitLength: 256, Mode: "cbc", Name: "key", SecretType: secrets.SymmetricSecret,
		Payload: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", PayloadContentType: "application/octet-stream",
		PayloadContentEncoding: "base64", Expiration: &expiration,
	}).Extract()
	must(err)
	id := idOf(made.SecretRef)
	read, err := secrets.Get(client, id).Extract()
	must(err)
	equal([]interface{}{read.Algorithm, read.BitLength, read.Mode, read.Name}, []interface{}{"aes", 256, "cbc", "key"})
	equal([]string{read.SecretType, read.Status, read.SecretRef}, []string{"symmetric", "ACTIVE", made.SecretRef})
	equal(read.ContentTypes, map[string]string{"default": "application/octet-stream"})
	equal(read.Expiration.UTC(), expiration)
	recent(read.Created)
	recent(read.Updated)
	if read.CreatorID == "" {
		fail("nobody made it")
	}
	binary := secrets.GetPayloadOpts{PayloadContentType: "application/octet-stream"}
	expected := make([]byte, 32)
	for place := range expected {
		expected[place] = byte(place)
	}
	equal(payload(client, id, binary), expected)

	// In two steps, as the provider does with a payload that comes later.
	empty, err := secrets.Create(client, secrets.CreateOpts{Name: "later"}).Extract()
	must(err)
	later := idOf(empty.SecretRef)
	must(secrets.Update(client, later, secrets.UpdateOpts{ContentType: "text/plain", Payload: "geheim"}).ExtractErr())
	equal(string(payload(client, later, nil)), "geheim")

	must(secrets.Delete(client, id).ExtractErr())
	must(secrets.Delete(client, later).ExtractErr())
	gone(secrets.Get(client, id).Err)
	gone(secrets.Delete(client, id).Err)
}

func listings(client *gophercloud.ServiceClient) {
	names := []string{}
	for number := 0; number < 23; number++ {
		name := fmt.Sprintf("listed %02d", number)
		names = append(names, name)
		store(client, name, name)
	}
	// Page by page, by the links between them.
	found, pages := []secrets.Secret{}, 0
	must(secrets.List(client, secrets.ListOpts{Limit: 10, Sort: "name"}).EachPage(func(page pagination.Page) (bool, error) {
		pages++
		more, err := secrets.ExtractSecrets(page)
		found = append(found, more...)
		return true, err
	}))
	equal(pages, 3)
	listed := []string{}
	for _, secret := range found {
		listed = append(listed, secret.Name)
	}
	equal(listed, names)
	count := func(options secrets.ListOpts) int {
		all, err := secrets.List(client, options).AllPages()
		must(err)
		some, err := secrets.ExtractSecrets(all)
		must(err)
		return len(some)
	}
	yesterday := time.Now().UTC().Add(-24 * time.Hour)
	equal(count(secrets.ListOpts{Name: "listed 07"}), 1)
	equal(count(secrets.ListOpts{SecretType: secrets.SymmetricSecret}), 0)
	equal(count(secrets.ListOpts{SecretType: secrets.OpaqueSecret}), 23)
	equal(count(secrets.ListOpts{Bits: 256}), 0)
	equal(count(secrets.ListOpts{CreatedQuery: &secrets.DateQuery{Date: yesterday, Filter: secrets.DateFilterGT}}), 23)
	equal(count(secrets.ListOpts{UpdatedQuery: &secrets.DateQuery{Date: yesterday, Filter: secrets.DateFilterLTE}}), 0)
	for _, secret := range found {
		must(secrets.Delete(client, idOf(secret.SecretRef)).ExtractErr())
	}
}

func metadata(client *gophercloud.ServiceClient) {
	id := idOf(store(client, "described", "x"))
	reference, err := secrets.CreateMetadata(client, id, secrets.MetadataOpts{"colour": "blue", "shape": "round"}).Extract()
	must(err)
	equal(strings.HasSuffix(reference["metadata_ref"], "/v1/secrets/"+id+"/metadata"), true)
	must(secrets.CreateMetadatum(client, id, secrets.MetadatumOpts{Key: "size", Value: "small"}).ExtractErr())
	changed, err := secrets.UpdateMetadatum(client, id, secrets.MetadatumOpts{Key: "size", Value: "large"}).Extract()
	must(err)
	equal(*changed, secrets.Metadatum{Key: "size", Value: "large"})
	one, err := secrets.GetMetadatum(client, id, "colour").Extract()
	must(err)
	equal(*one, secrets.Metadatum{Key: "colour", Value: "blue"})
	must(secrets.DeleteMetadatum(client, id, "shape").ExtractErr())
	all, err := secrets.GetMetadata(client, id).Extract()
	must(err)
	equal(all, map[string]string{"colour": "blue", "size": "large"})
	gone(secrets.GetMetadatum(client, id, "shape").Err)
	must(secrets.Delete(client, id).ExtractErr())
}

func containersAndConsumers(client *gophercloud.ServiceClient) {
	first, second := store(client, "first", "1"), store(client, "second", "2")
	made, err := containers.Create(client, containers.CreateOpts{
		Type: containers.GenericContainer, Name: "box",
		SecretRefs: []containers.SecretRef{{Name: "first", SecretRef: first}},
	}).Extract()
	must(err)
	id := idOf(made.ContainerRef)
	added := containers.SecretRef{Name: "second", SecretRef: second}
	after, err := containers.CreateSecretRef(client, id, added).Extract()
	must(err)
	equal(after.ContainerRef, made.ContainerRef)
	read, err := containers.Get(client, id).Extract()
	must(err)
	sort.Slice(read.SecretRefs, func(one, other int) bool { return read.SecretRefs[one].Name < read.SecretRefs[other].Name })
	equal(read.SecretRefs, []containers.SecretRef{{Name: "first", SecretRef: first}, added})
	equal([]string{read.Name, read.Type, read.Status}, []string{"box", "generic", "ACTIVE"})
	recent(read.Created)
	must(containers.DeleteSecretRef(client, id, added).ExtractErr())

	consumer := containers.CreateConsumerOpts{Name: "balancer", URL: "http://lb.example.org/1"}
	with, err := containers.CreateConsumer(client, id, consumer).Extract()
	must(err)
	equal(with.Consumers, []containers.ConsumerRef{{Name: consumer.Name, URL: consumer.URL}})
	equal(len(with.SecretRefs), 1)
	all, err := containers.ListConsumers(client, id, containers.ListOpts{Limit: 10}).AllPages()
	must(err)
	consumers, err := containers.ExtractConsumers(all)
	must(err)
	equal(len(consumers), 1)
	equal([]string{consumers[0].Name, consumers[0].URL, consumers[0].Status}, []string{consumer.Name, consumer.URL, "ACTIVE"})
	without, err := containers.DeleteConsumer(client, id, containers.DeleteConsumerOpts{Name: consumer.Name, URL: consumer.URL}).Extract()
	must(err)
	equal(len(without.Consumers), 0)

	listing, err := containers.List(client, containers.ListOpts{Name: "box"}).AllPages()
	must(err)
	boxes, err := containers.ExtractContainers(listing)
	must(err)
	equal(len(boxes), 1)
	equal(boxes[0].ContainerRef, made.ContainerRef)
	must(containers.Delete(client, id).ExtractErr())
	gone(containers.Get(client, id).Err)
	must(secrets.Delete(client, idOf(first)).ExtractErr())
	must(secrets.Delete(client, idOf(second)).ExtractErr())
}

func ordered(client *gophercloud.ServiceClient, kind orders.OrderType, meta orders.MetaOpts) *orders.Order {
	made, err := orders.Create(client, orders.CreateOpts{Type: kind, Meta: meta}).Extract()
	must(err)
	for deadline := time.Now().Add(timeout); ; time.Sleep(50 * time.Millisecond) {
		order, err := orders.Get(client, idOf(made.OrderRef)).Extract()
		must(err)
		if order.Status != "PENDING" {
			equal([]string{order.Status, order.Type, order.Meta.Name}, []string{"ACTIVE", string(kind), meta.Name})
			return order
		}
		if time.Now().After(deadline) {
			fail("the order stays PENDING")
		}
	}
}

func ordersOfKeys(client *gophercloud.ServiceClient) {
	expiration := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	key := ordered(client, orders.KeyOrder, orders.MetaOpts{
		Algorithm: "aes", BitLength: 256, Mode: "cbc", Name: "ordered key", PayloadContentType: "application/octet-stream",
		Expiration: &expiration,
	})
	equal(key.Meta.Expiration.UTC(), expiration)
	binary := secrets.GetPayloadOpts{PayloadContentType: "application/octet-stream"}
	equal(len(payload(client, idOf(key.SecretRef), binary)), 32)
	pair := ordered(client, orders.AsymmetricOrder, orders.MetaOpts{Algorithm: "rsa", BitLength: 2048, Name: "ordered pair"})
	container, err := containers.Get(client, idOf(pair.ContainerRef)).Extract()
	must(err)
	equal(container.Type, "rsa")
	for _, part := range container.SecretRefs {
		content := payload(client, idOf(part.SecretRef), binary)
		equal(bytes.HasPrefix(content, []byte("-----BEGIN ")), true)
		must(secrets.Delete(client, idOf(part.SecretRef)).ExtractErr())
	}
	must(containers.Delete(client, idOf(pair.ContainerRef)).ExtractErr())
	must(secrets.Delete(client, idOf(key.SecretRef)).ExtractErr())
	listing, err := orders.List(client, orders.ListOpts{Limit: 1}).AllPages()
	must(err)
	all, err := orders.ExtractOrders(listing)
	must(err)
	equal(len(all), 2)
	for _, order := range all {
		must(orders.Delete(client, idOf(order.OrderRef)).ExtractErr())
		gone(orders.Get(client, idOf(order.OrderRef)).Err)
	}
}

func accessLists(client *gophercloud.ServiceClient, other string) {
	reference := store(client, "shared", "x")
	secret := idOf(reference)
	box, err := containers.Create(client, containers.CreateOpts{
		Type: containers.GenericContainer, Name: "shared", SecretRefs: []containers.SecretRef{{Name: "x", SecretRef: reference}},
	}).Extract()
	must(err)
	container := idOf(box.ContainerRef)
	users, nobody, yes, no := []string{other}, []string{}, true, false
	type calls struct {
		get    func() acls.ACLResult
		set    func(acls.SetOpts) acls.ACLRefResult
		update func(acls.SetOpts) acls.ACLRefResult
		remove func() acls.DeleteResult
	}
	for _, call := range []calls{
		{
			func() acls.ACLResult { return acls.GetSecretACL(client, secret) },
			func(options acls.SetOpts) acls.ACLRefResult { return acls.SetSecretACL(client, secret, options) },
			func(options acls.SetOpts) acls.ACLRefResult { return acls.UpdateSecretACL(client, secret, options) },
			func() acls.DeleteResult { return acls.DeleteSecretACL(client, secret) },
		},
		{
			func() acls.ACLResult { return acls.GetContainerACL(client, container) },
			func(options acls.SetOpts) acls.ACLRefResult { return acls.SetContainerACL(client, container, options) },
			func(options acls.SetOpts) acls.ACLRefResult {
				return acls.UpdateContainerACL(client, container, options)
			},
			func() acls.DeleteResult { return acls.DeleteContainerACL(client, container) },
		},
	} {
		access := func() acls.ACLDetails {
			read, err := call.get().Extract()
			must(err)
			return (*read)["read"]
		}
		equal(access().ProjectAccess, true)
		set, err := call.set(acls.SetOpts{{Type: "read", Users: &users, ProjectAccess: &no}}).Extract()
		must(err)
		equal(strings.HasSuffix(string(*set), "/acl"), true)
		details := access()
		equal([]interface{}{details.Users, details.ProjectAccess}, []interface{}{users, false})
		recent(details.Created)
		_, err = call.update(acls.SetOpts{{Type: "read", ProjectAccess: &yes}}).Extract()
		must(err)
		details = access()
		equal([]interface{}{details.Users, details.ProjectAccess}, []interface{}{users, true})
		_, err = call.update(acls.SetOpts{{Type: "read", Users: &nobody}}).Extract()
		must(err)
		equal(len(access().Users), 0)
		must(call.remove().ExtractErr())
		equal(access().ProjectAccess, true)
	}
	must(containers.Delete(client, container).ExtractErr())
	must(secrets.Delete(client, secret).ExtractErr())
}

func main() {
	var who input
	must(json.NewDecoder(os.Stdin).Decode(&who))
	client := connect(who)
	for _, step := range []struct {
		name string
		run  func()
	}{
		{"secrets", func() { secretsAndPayloads(client) }},
		{"listings", func() { listings(client) }},
		{"metadata", func() { metadata(client) }},
		{"containers", func() { containersAndConsumers(client) }},
		{"orders", func() { ordersOfKeys(client) }},
		{"access lists", func() { accessLists(client, who.OtherUserID) }},
	} {
		step.run()
		fmt.Println(step.name)
	}
}
