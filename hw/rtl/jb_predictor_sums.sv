// The predictor's memory of sums and the path through which everything reads and writes it: word, sum of the word and what a segment
// adds, absolute value against a limit. A drain adds a segment's twelve words; in the last segments of a layer it also raises the maximum,
// stopping the path where a sum is larger. Between drains the scheduler reads: which sums are above a limit, and their signs.
`default_nettype none

module jb_predictor_sums #(
  parameter int OutLanes = 16,
  parameter int Depth    = 2304
) (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  input  wire logic                     start_i,          // a tile: maximum 0, nothing captured yet
  input  wire logic                     busy_i,           // the predictor runs
  // drain
  input  wire logic                     captured_i,       // pulse, with the tag below steady until drained_o
  input  wire logic [15:0]              tap_i,            // number of the first tap
  input  wire logic                     part_i,
  input  wire logic [1:0]               columns_i,        // taps that exist, 1..3
  input  wire logic                     replace_i,        // sums start here
  input  wire logic                     check_i,          // sums are complete
  output      logic                     step_o,           // to jb_predictor_lanes
  output      logic [3:0]               select_o,
  input  wire logic [OutLanes*18-1:0]   upper_i,          // of the word before the one selected now
  input  wire logic [OutLanes*20-1:0]   lower_i,
  output      logic                     drained_o,        // pulse
  output      logic [35:0]              peak_o,
  // reads, while not busy; answer 6 cycles later
  input  wire logic                     read_valid_i,
  input  wire logic [$clog2(Depth)-1:0] read_address_i,
  input  wire logic [35:0]              read_limit_i,
  output      logic                     read_valid_o,
  output      logic [OutLanes-1:0]      read_above_o,     // |sum| > limit
  output      logic [OutLanes-1:0]      read_negative_o
);
  localparam int AddressBits = $clog2(Depth);

  // ---- drain: twelve words
  logic draining_q, step;
  logic [3:0] word_q;
  logic fresh_q;  // no segment of the tile was drained yet
  logic issue;
  logic [15:0] drain_tap, drain_address;

  assign issue         = draining_q;
  assign drain_tap     = tap_i + 16'(word_q[3:2]);
  assign drain_address = {drain_tap[12:0], part_i, word_q[1:0]};

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      draining_q <= 1'b0;
      word_q     <= '0;
    end else if (captured_i) begin
      draining_q <= 1'b1;
      word_q     <= '0;
    end else if (draining_q && step) begin
      word_q <= word_q + 4'd1;
      if (word_q == 4'd11) draining_q <= 1'b0;
    end
  end

  // ---- stages 0..4; all move with step
  logic [4:0] valid_q, write_q, last_q, read_q;
  logic [2:0] zero_q;
  logic [4:0] check_q;
  logic [AddressBits-1:0] address0_q, address1_q, address2_q, address3_q, address4_q;
  logic [3:0] word0_q, word1_q, word2_q;
  logic [OutLanes*36-1:0] main_data, rest_data, main3_q, rest3_q, sum_q;  // one of main and rest is zero
  logic rest2;
  logic [OutLanes*20-1:0] now2_q, earlier2_q, added3_q;

  assign step_o   = step;
  assign select_o = word0_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      valid_q <= '0;
      read_q  <= '0;
    end else if (step) begin
      valid_q <= {valid_q[3:0], issue};
      read_q  <= {read_q[3:0], read_valid_i && !busy_i};
    end
    if (step) begin
      write_q    <= {write_q[3:0], issue && word_q[3:2] < columns_i};
      check_q    <= {check_q[3:0], issue && word_q[3:2] < columns_i && check_i};
      last_q     <= {last_q[3:0], issue && word_q == 4'd11};
      zero_q     <= {zero_q[1:0], replace_i && busy_i};
      address0_q <= busy_i ? AddressBits'(drain_address) : read_address_i;
      address1_q <= address0_q;
      address2_q <= address1_q;
      address3_q <= address2_q;
      address4_q <= address3_q;
      word0_q    <= word_q;
      word1_q    <= word0_q;
      word2_q    <= word1_q;
    end
  end

  // What the accumulators held at the drain before, one word of OutLanes per word of the drain
  for (genvar lane = 0; lane < OutLanes; lane++) begin : gen_lane
    (* ram_style = "distributed" *) logic [19:0] earlier[16];
    logic [35:0] word;

    always_ff @(posedge clk_i) begin
      if (step) begin
        if (fresh_q) earlier2_q[20*lane+:20] <= '0;
        else earlier2_q[20*lane+:20] <= earlier[word1_q];
        now2_q[20*lane+:20] <= {upper_i[18*lane+:18], 2'b00} + lower_i[20*lane+:20];
        if (zero_q[2] || rest2) main3_q[36*lane+:36] <= '0;
        else main3_q[36*lane+:36] <= main_data[36*lane+:36];
        if (zero_q[2] || !rest2) rest3_q[36*lane+:36] <= '0;
        else rest3_q[36*lane+:36] <= rest_data[36*lane+:36];
        if (valid_q[2]) added3_q[20*lane+:20] <= now2_q[20*lane+:20] - earlier2_q[20*lane+:20];
        else added3_q[20*lane+:20] <= '0;
        sum_q[36*lane+:36] <= {{16{added3_q[20*lane+19]}}, added3_q[20*lane+:20]} + (main3_q[36*lane+:36] | rest3_q[36*lane+:36]);
        if (valid_q[2]) earlier[word2_q] <= now2_q[20*lane+:20];
      end
    end
    assign word = sum_q[36*lane+:36];

    // |sum| > limit: ~limit + (sum, or its inverse + 1) carries out
    logic [37:0] compare;
    assign compare = {1'b0, inverse_q, 1'b1} + {1'b0, word ^ {36{word[35]}}, word[35]};
    always_ff @(posedge clk_i) begin
      above_q[lane] <= compare[37];
    end
    assign read_negative_o[lane] = negative_q[lane];
    always_ff @(posedge clk_i) negative_q[lane] <= word[35];

    logic unused_compare;
    assign unused_compare = ^compare[36:0];
  end

  // Words below Main in one memory, the others in a second one, which needs fewer selectors than what tools make of Depth words
  localparam int Main = 1 << ($clog2(Depth + 1) - 1);
  localparam int Rest = Depth - Main;
  localparam int MainBits = $clog2(Main);
  logic write;

  assign write = valid_q[4] && write_q[4] && step;

  for (genvar lane = 0; lane < OutLanes; lane++) begin : gen_memory
    jb_predictor_ram #(
      .Width(36),
      .Depth(Main)
    ) u_memory (
      .clk_i,
      .write_i        (write && (Rest == 0 || !address4_q[AddressBits-1])),
      .write_address_i(address4_q[MainBits-1:0]),
      .write_data_i   (sum_q[36*lane+:36]),
      .read_i         (step),
      .read_address_i (address1_q[MainBits-1:0]),
      .read_data_o    (main_data[36*lane+:36])
    );
  end

  if (Rest != 0) begin : gen_rest
    for (genvar pair = 0; pair < OutLanes / 2; pair++) begin : gen_pair
      jb_predictor_ram #(
        .Width(72),
        .Depth(Rest)
      ) u_memory (
        .clk_i,
        .write_i        (write && address4_q[AddressBits-1]),
        .write_address_i(address4_q[$clog2(Rest)-1:0]),
        .write_data_i   (sum_q[72*pair+:72]),
        .read_i         (step),
        .read_address_i (address1_q[$clog2(Rest)-1:0]),
        .read_data_o    (rest_data[72*pair+:72])
      );
    end
    assign rest2 = address2_q[AddressBits-1];
  end else begin : gen_no_rest
    assign rest2     = 1'b0;
    assign rest_data = '0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) fresh_q <= 1'b1;
    else if (drained_o) fresh_q <= 1'b0;
    drained_o <= rst_ni && !start_i && valid_q[4] && last_q[4] && step;
  end

  // ---- maximum: a word that may raise it stays in stage 4 until no lane is above
  logic [35:0] inverse_q, peak_q, larger_q, chosen;
  logic [OutLanes-1:0] above_q, negative_q;
  logic looking, read_q5;
  typedef enum logic [1:0] {
    StCompare,
    StDecide,
    StRaise
  } state_e;
  state_e state_q;

  assign looking      = valid_q[4] && check_q[4];
  assign step         = !looking || (state_q == StDecide && above_q == '0);
  assign peak_o       = peak_q;
  assign read_above_o = above_q;
  assign read_valid_o = read_q5;

  always_comb begin
    chosen = '0;
    for (int lane = OutLanes - 1; lane >= 0; lane--) begin
      if (above_q[lane]) chosen = sum_q[36*lane+:36];
    end
  end

  always_ff @(posedge clk_i) begin
    read_q5 <= rst_ni && !start_i && read_q[4];
    if (!rst_ni || start_i) begin
      state_q   <= StCompare;
      peak_q    <= '0;
      inverse_q <= '1;
    end else begin
      unique case (state_q)
        StCompare: if (looking) state_q <= StDecide;
        StDecide:  state_q <= above_q == '0 ? StCompare : StRaise;
        default:   state_q <= StCompare;
      endcase
      if (state_q == StRaise) peak_q <= larger_q;
      if (!busy_i) inverse_q <= ~read_limit_i;
      else if (state_q == StRaise) inverse_q <= ~larger_q;
    end
    larger_q <= chosen[35] ? -chosen : chosen;
  end

  logic unused;
  assign unused = ^{drain_tap, drain_address};
endmodule

`default_nettype wire
